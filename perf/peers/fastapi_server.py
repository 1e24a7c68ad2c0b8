"""ResNet50 behind FastAPI as tutorials do it, with `model.predict`: python -m perf.peers.fastapi_server PORT"""

import sys
from typing import Annotated, Any

import numpy as np
import uvicorn
from fastapi import Body, FastAPI  # type: ignore[import-not-found]

from perf.peers.resnet import answer, count, decode, keras_model

app = FastAPI()
model = keras_model()


@app.post("/predict")  # type: ignore[untyped-decorator]
def predict(picture: Annotated[bytes, Body()]) -> dict[str, Any]:
    """A plain def: FastAPI calls it in a thread of its pool."""
    scores = model.predict(decode(picture)[np.newaxis], verbose=0)
    count(1)
    return answer(scores[0])


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
