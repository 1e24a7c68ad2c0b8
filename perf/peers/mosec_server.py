"""ResNet50 behind mosec: python -m perf.peers.mosec_server --address 127.0.0.1 --port PORT --timeout 120000"""

from typing import Any

from mosec import Server, Worker  # type: ignore[import-not-found]

from perf.peers.resnet import MAX_BATCH, WINDOW_MS, Frozen, Pixels, answer, cores, decode, workers

MODELS = workers(cores())


class Decode(Worker):  # type: ignore[misc]
    """Takes the body as it comes; several processes."""

    def deserialize(self, data: bytes) -> bytes:
        return data

    def forward(self, data: bytes) -> Pixels:
        return decode(data)


class Classify(Worker):  # type: ignore[misc]
    """Computes batches."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = Frozen(threads=max(1, cores() // MODELS))

    def forward(self, data: list[Pixels]) -> list[dict[str, Any]]:
        return [answer(scores) for scores in self.frozen(data)]


if __name__ == "__main__":
    server = Server()
    server.append_worker(Decode, num=cores(), route="/predict")
    server.append_worker(Classify, num=MODELS, max_batch_size=MAX_BATCH, max_wait_time=WINDOW_MS, route="/predict")
    server.run()
