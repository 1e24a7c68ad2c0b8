"""Names of folders and files -> classes. Pure."""

import re

from service.inference.labels import ClassTable

UNKNOWN = -1


class ClassNames:
    """Finds a class by WordNet id or label. Labels that two classes share (ImageNet has two cranes) find none."""

    def __init__(self, classes: ClassTable) -> None:
        self._index: dict[str, int] = {}
        names = [*zip(classes.labels, range(len(classes)), strict=True)]
        names += [(wnid, index) for index, wnid in enumerate(classes.wnids) if wnid]
        for name, index in names:
            key = _key(name)
            self._index[key] = index if self._index.get(key, index) == index else UNKNOWN

    def find(self, name: str) -> int:
        """The class whose id or label is the name or, word by word, its beginning, the longest first; else UNKNOWN.

        `n02099601_golden_retriever`, `Golden Retriever` and `golden-retriever-17` are all class 207 of ImageNet.
        """
        words = _key(name).split("_")
        beginnings = ("_".join(words[:count]) for count in range(len(words), 0, -1))
        return next((self._index[key] for key in beginnings if key in self._index), UNKNOWN)


def _key(name: str) -> str:
    return re.sub(r"[\W_]+", "_", name.casefold()).strip("_")
