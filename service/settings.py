"""Every setting, once: its default, its unit in its name, one line of help. Environment: GLIMT_<NAME>.

`glimt serve --help` and the table in the README are made from this class, and a test proves it.
"""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.cores import usable_cores

Profile = Literal["imagenet", "keras"]
KeepImages = Literal["feedback", "all", "none"]

Rate = Annotated[str, Field(pattern=r"^(off|[1-9][0-9]{0,6}/(second|minute|hour|day))$")]

MIB = 1024 * 1024
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


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
        description="imagenet (cached or downloaded; its hash is checked where Keras publishes one: not for "
        "mobilenet_v2), a file, or random (load tests).",
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
        Path("~/.local/share/glimt"),
        description="Folder for all that is kept: database, keys, pictures, jobs, models, weights, logs.",
    )
    max_batch: Annotated[int, Field(ge=1, le=256)] | Literal["auto"] = Field(
        "auto", description="Pictures in one batch at most; auto measures the engine when it first warms up."
    )
    max_wait_ms: Annotated[float, Field(ge=0, le=1000)] | Literal["auto"] = Field(
        "auto", description="Window from a picture's arrival in the queue; auto is the longest that can pay."
    )
    max_pending: int = Field(
        256,
        ge=1,
        le=65536,
        description="Pictures waiting at most; more get a 503 at once, and so do those that would wait too long.",
    )
    max_pending_bytes: int = Field(
        512 * MIB,
        ge=1,
        description="Bytes of waiting pictures at most, streams half of it; at least two pictures'.",
    )
    deadline_ms: int = Field(10_000, ge=1, le=600_000, description="Time for one answer at most, then a 504.")
    engine_timeout_s: float = Field(
        60.0,
        ge=0.1,
        le=3600,
        description="Seconds for one batch at most; then the model counts as hanging, and /healthz says failed.",
    )
    max_image_bytes: int = Field(20 * MIB, ge=1, description="Bytes of one picture at most.")
    max_image_pixels: int = Field(50_000_000, ge=1, description="Pixels of one picture at most, by its header.")
    max_images_per_request: int = Field(
        32, ge=1, le=1024, description="Pictures in one form, and in flight at once in one stream."
    )
    max_zip_bytes: int = Field(500 * MIB, ge=1, description="Bytes of one zip archive for a bulk job at most.")
    max_jobs: int = Field(
        8, ge=1, le=1000, description="Bulk jobs of one person that are not over, at most; then a 429."
    )
    max_job_bytes: int = Field(
        5120 * MIB, ge=1, description="Bytes of all archives together that are kept for one person's bulk jobs."
    )
    job_folders: str = Field(
        "",
        description="Folders of this machine, whole paths with commas between, below which admins may name one for a "
        "bulk job; empty = none.",
    )
    job_days: int = Field(
        7, ge=1, le=3650, description="Days for which a finished bulk job is kept, with its archive and its answers."
    )
    decode_threads: int = Field(0, ge=0, le=256, description="Threads that decode pictures; 0 = one per core.")
    cache_entries: int = Field(4096, ge=0, description="Answers kept by picture, model and profile; 0 = off.")
    keep_images: KeepImages = Field(
        "feedback", description="Which pictures are kept on disk: feedback (only with feedback), all, none."
    )
    review_pictures: int = Field(
        0,
        ge=0,
        le=10_000,
        description="Pictures with the least certain answers that are kept for admins to review, at most, for 30 days, "
        "or to learn from once they are; 0 = none. Not where no pictures are kept.",
    )
    retrain_after: int = Field(
        100, ge=1, le=1_000_000, description="New labels from feedback after which /review offers to train again."
    )
    auth: Literal["auto", "open", "required"] = Field(
        "auto",
        description="Who may use it: open (anybody), required (accounts); auto is open on a loopback address, unless "
        "GLIMT_ALLOWED_HOSTS or GLIMT_FORWARDED_ALLOW_IPS says that others come through a proxy.",
    )
    registration: Literal["auto", "on", "off"] = Field(
        "auto", description="Whether people may make accounts for themselves; auto: where anybody may use it."
    )
    demo_account: bool = Field(
        False, description="An admin admin@example.com, password admin, for tutorials; only on a loopback address."
    )
    session_days: int = Field(14, ge=1, le=365, description="Days until the page asks for the password again.")
    history_days: int = Field(
        30, ge=0, le=3650, description="Days for which answers to signed-in people are listed; 0 = none."
    )
    login_rate: Rate = Field("10/minute", description="Wrong passwords for one account from one address, then a 429.")
    login_rate_address: Rate = Field(
        "100/hour", description="Wrong passwords and new accounts from one address, then a 429."
    )
    rate_account: Rate = Field("off", description="Requests of one account, as 600/minute; off = any number.")
    rate_address: Rate = Field("off", description="Requests from one address, as 600/minute; off = any number.")
    allowed_hosts: str = Field(
        "auto",
        pattern=r"^\s*[^\s,/]+(\s+[^\s,/]+)*\s*$",
        description="Names it answers to, with spaces between; auto is localhost on a loopback address, else * (any).",
    )
    forwarded_allow_ips: str = Field(
        "",
        description="Addresses of proxies whose X-Forwarded-For and -Proto are believed, with commas between; * is "
        "anybody, who can then take any address.",
    )
    header_timeout_s: float = Field(
        10.0, gt=0, le=3600, description="Time for the head of a request at most; then a 408, and the end."
    )
    body_timeout_s: float = Field(
        10.0, gt=0, le=3600, description="In each such time a body must come on by 1 KiB a second, or it is a 408."
    )
    write_timeout_s: float = Field(
        30.0, gt=0, le=3600, description="A client that takes nothing of its answer for so long is hung up on."
    )
    cors_origins: str = Field(
        "",
        pattern=r"^\s*((\*|https?://[^\s,/?#@A-Z]+)(\s+|$))*$",
        description="Origins, as https://a.example, whose pages may use it from a browser, with spaces between; * is "
        "any, without cookies and HTTP Basic.",
    )
    grace_s: float = Field(20.0, ge=0, le=3600, description="Time to answer what was accepted, on shutdown.")
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="auto is readable on a terminal and JSON lines otherwise."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level logged.")

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def is_local(self) -> bool:
        """Whether only this machine is to reach it: no proxy is named, and no name that others would call it by."""
        return self.is_loopback and not self.forwarded_allow_ips and set(self.hosts) <= {*LOCAL_NAMES, self.host}

    @property
    def login_required(self) -> bool:
        """Whether everything but health needs an account."""
        return self.auth == "required" or (self.auth == "auto" and not self.is_local)

    @property
    def registers(self) -> bool:
        """Whether people may make accounts for themselves."""
        return self.registration == "on" or (self.registration == "auto" and not self.login_required)

    @property
    def hosts(self) -> list[str]:
        """Names in the Host header that are answered; ["*"] is any."""
        own = [*LOCAL_NAMES, self.host]  # commands on this machine; no other site has these names
        if self.allowed_hosts != "auto":
            return [*self.allowed_hosts.split(), *own]
        return own if self.is_loopback else ["*"]

    @property
    def origins(self) -> list[str]:
        """Other sites whose pages may use it; "*" is any."""
        return self.cors_origins.split()

    @property
    def reviewed_pictures(self) -> int:
        """As `review_pictures`; 0 where no pictures are kept."""
        return 0 if self.keep_images == "none" else self.review_pictures

    @property
    def job_roots(self) -> tuple[Path, ...]:
        """The folders of `job_folders`, absolute."""
        return tuple(Path(it.strip()).expanduser().absolute() for it in self.job_folders.split(",") if it.strip())

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
