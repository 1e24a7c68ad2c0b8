"""ResNet50 behind LitServe: python -m perf.peers.litserve_server PORT"""

import sys
from typing import Annotated, Any

import litserve  # type: ignore[import-not-found]
from fastapi import Body  # type: ignore[import-not-found]

from perf.peers.resnet import MAX_BATCH, WINDOW_MS, Frozen, Pixels, Scores, answer, cores, decode, workers


class Classifier(litserve.LitAPI):  # type: ignore[misc]
    """Every worker decodes and computes the batches it takes."""

    def setup(self, device: str) -> None:
        self.frozen = Frozen(threads=max(1, cores() // workers(cores())))

    def decode_request(self, request: Annotated[bytes, Body()]) -> Pixels:
        return decode(request)

    def batch(self, inputs: list[Pixels]) -> list[Pixels]:
        return inputs

    def predict(self, x: list[Pixels]) -> Scores:
        return self.frozen(x)

    def unbatch(self, output: Scores) -> list[Scores]:
        return list(output)

    def encode_response(self, output: Scores) -> dict[str, Any]:
        return answer(output)


if __name__ == "__main__":
    api = Classifier(max_batch_size=MAX_BATCH, batch_timeout=WINDOW_MS / 1000)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=workers(cores()), timeout=120)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
