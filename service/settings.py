"""Every setting, once: its default, its unit in its name, one line of help. Environment: GLIMT_<NAME>.

`glimt serve --help` and the table in the README are made from this class, and a test proves it.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.cores import usable_cores

Profile = Literal["imagenet", "keras"]
KeepImages = Literal["feedback", "all", "none"]

MIB = 1024 * 1024


class Settings(BaseSettings):
    """Frozen. Values come from arguments first, then GLIMT_* in the environment, then the defaults here."""

    model_config = SettingsConfigDict(env_prefix="GLIMT_", frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    model: str = Field(
        "resnet50", description="resnet50, mobilenet_v2, efficientnet_b0, demo, or a version in the registry."
    )
    weights: str = Field(
        "imagenet",
        description="imagenet (cached or downloaded, hash checked), a file, or random (load tests).",
    )
    engine: Literal["auto", "tensorflow", "openvino"] = Field(
        "auto", description="What computes: auto is openvino on a CPU, tensorflow when that sees a GPU."
    )
    fallback: bool = Field(
        True, description="Serve the demo model when neither model nor weights was named and none can be had."
    )
    weights_site: str = Field(
        "https://storage.googleapis.com/tensorflow/keras-applications",
        description="Where the official weight files are; a mirror with the same paths works.",
    )
    preprocess: Profile = Field(
        "imagenet",
        description="imagenet (resize 256, centre crop) or keras (nearest squash), the default profile.",
    )
    data_dir: Path = Field(
        Path("~/.local/share/glimt"), description="Folder for the database, kept pictures, weights and logs."
    )
    max_batch: Annotated[int, Field(ge=1, le=256)] | Literal["auto"] = Field(
        "auto", description="Pictures in one batch at most; auto measures the engine when it first warms up."
    )
    max_wait_ms: Annotated[float, Field(ge=0, le=1000)] | Literal["auto"] = Field(
        "auto", description="Window from a picture's arrival in the queue; auto is the longest that can pay."
    )
    max_pending: int = Field(256, ge=1, le=65536, description="Pictures waiting at most; more get a 503 at once.")
    deadline_ms: int = Field(10_000, ge=1, le=600_000, description="Time for one answer at most, then a 504.")
    max_image_bytes: int = Field(20 * MIB, ge=1, description="Bytes of one picture at most.")
    max_image_pixels: int = Field(50_000_000, ge=1, description="Pixels of one picture at most, by its header.")
    max_images_per_request: int = Field(
        32, ge=1, le=1024, description="Pictures in one form, and in flight at once in one stream."
    )
    decode_threads: int = Field(0, ge=0, le=256, description="Threads that decode pictures; 0 = one per core.")
    cache_entries: int = Field(4096, ge=0, description="Answers kept by picture, model and profile; 0 = off.")
    keep_images: KeepImages = Field(
        "feedback", description="Which pictures are kept on disk: feedback (only with feedback), all, none."
    )
    grace_s: float = Field(20.0, ge=0, le=3600, description="Time to answer what was accepted, on shutdown.")
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="auto is readable on a terminal and JSON lines otherwise."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level logged.")

    @property
    def data_path(self) -> Path:
        """`data_dir` with ~ expanded, absolute."""
        return self.data_dir.expanduser().absolute()

    @property
    def decode_workers(self) -> int:
        """Decode threads actually used."""
        return self.decode_threads or usable_cores()

    @property
    def named_a_model(self) -> bool:
        """Whether the user asked for a model or weights (only then is a missing one a start failure)."""
        return bool({"model", "weights"} & self.model_fields_set)
