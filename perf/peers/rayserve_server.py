"""ResNet50 behind Ray Serve: python -m perf.peers.rayserve_server PORT"""

import asyncio
import os
import sys
import time

import ray  # type: ignore[import-not-found]
from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse

from perf.peers.resnet import MAX_BATCH, WINDOW_MS, Frozen, Pixels, Scores, answer, cores, decode, workers

REPLICAS = workers(1)


@serve.deployment(
    num_replicas=REPLICAS,
    max_ongoing_requests=2 * MAX_BATCH,
    ray_actor_options={"num_cpus": 1, "runtime_env": {"env_vars": {"OMP_NUM_THREADS": str(cores() // REPLICAS)}}},
)
class Classifier:
    """Decodes in threads, computes batches in one more: neither blocks the replica's loop."""

    def __init__(self) -> None:
        self.frozen = Frozen(threads=max(1, cores() // REPLICAS))

    async def __call__(self, request: Request) -> JSONResponse:
        pixels = await asyncio.to_thread(decode, await request.body())
        return JSONResponse(answer(await self.scores(pixels)))

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=WINDOW_MS / 1000)  # type: ignore[untyped-decorator]
    async def scores(self, pictures: list[Pixels]) -> Scores:
        return await asyncio.to_thread(self.frozen, pictures)


def main() -> None:
    """Everything on loopback, nothing sent home, no dashboard."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1000"}
    ray.init(include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])}, logging_config={"log_level": "ERROR"})
    serve.run(Classifier.bind(), route_prefix="/predict")  # type: ignore[attr-defined]
    while True:
        time.sleep(60)


if __name__ == "__main__":
    main()
