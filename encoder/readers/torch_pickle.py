"""Read what torch.save pickled from the opcodes alone: nothing is imported or called, only plain containers are built.

A tensor becomes a `StoredTensor`: where its storage lies, its sizes and its strides. A value that is neither a tensor
nor plain data becomes an `Other`. A global that torch.save does not write for tensors means that the file needs pickle.

`torch.load(weights_only=True)` calls what it allows, also within `FakeTensorMode`. Two files of one kilobyte decide
against it: `bytearray(n)` fills memory, and a dict key that is a tuple holding itself twice, sixty levels deep, is
hashed for ever. A capture with one tensor for each token and layer decides as well: 20,000 tensors take 11 s of
processor time as fake tensors and 1 s here.
"""

from __future__ import annotations

import io
import pickletools
from dataclasses import dataclass
from typing import IO, Any, Protocol, cast

STORAGES = {
    "BFloat16Storage": "bfloat16", "HalfStorage": "float16", "FloatStorage": "float32", "DoubleStorage": "float64",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool",
}  # fmt: skip
MAX_CONTAINERS = 1_000_000
MAX_INT_KEY = 1 << 31  # larger ones can be chosen to collide in a dict, which then takes quadratic time

_REBUILD_TENSOR = {"_rebuild_tensor": 4, "_rebuild_tensor_v2": 6, "_rebuild_tensor_v3": 7}  # arguments that it has
_REBUILD_PARAMETER = ("_rebuild_parameter", "_rebuild_parameter_with_state")
# Sparse, quantized, nested and meta tensors, and tensor subclasses: not activations, but no reason to refuse the file.
_REBUILD_OTHER = (
    "_rebuild_sparse_tensor", "_rebuild_qtensor", "_rebuild_nested_tensor", "_rebuild_meta_tensor_no_storage",
    "_rebuild_wrapper_subclass", "_rebuild_device_tensor_from_numpy", "_rebuild_device_tensor_from_cpu_tensor",
)  # fmt: skip
_OTHER_GLOBALS = {
    "collections Counter", "_codecs encode", "torch Size", "torch device", "torch Tensor",
    "torch.nn.parameter Parameter", "torch.serialization _get_layout",
    *(f"torch._utils {name}" for name in _REBUILD_OTHER),
    *(f"{module} {name}" for module in ("builtins", "__builtin__") for name in ("set", "complex", "bytearray")),
}  # fmt: skip
_KNOWN_GLOBALS = {
    "collections OrderedDict", "torch._tensor _rebuild_from_type_v2", "torch.storage UntypedStorage",
    *(f"torch._utils {name}" for name in (*_REBUILD_TENSOR, *_REBUILD_PARAMETER)),
}  # fmt: skip
_PLAIN = {
    "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "SHORT_BINSTRING",
    "SHORT_BINBYTES", "BINBYTES",
}  # fmt: skip
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_MEMO = {"BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET", "MEMOIZE"}
_STRUCTURE = {
    "MARK", "EMPTY_DICT", "EMPTY_LIST", "EMPTY_SET", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "APPEND", "APPENDS",
    "SETITEM", "SETITEMS", "GLOBAL", "STACK_GLOBAL", "BINPERSID", "REDUCE", "NEWOBJ", "BUILD",
}  # fmt: skip
_OPCODES = {
    opcode.code.encode("latin-1"): (opcode.name, opcode.arg.reader if opcode.arg else None)
    for opcode in pickletools.opcodes
    if opcode.name in {*_PLAIN, *_CONSTANTS, *_MEMO, *_STRUCTURE, "PROTO", "FRAME", "STOP"}
}


class NeedsPickle(Exception):
    """The file names a global that is no part of a tensor; loading it would run code."""


class Damaged(Exception):
    """The opcodes are not what torch.save writes."""


@dataclass(frozen=True, slots=True)
class Global:
    """The name of something that pickle would import: "module name"."""

    name: str


@dataclass(frozen=True, slots=True)
class Storage:
    """The bytes of the archive's entry `data/<key>`; `dtype` is "" where the tensor, or nobody, says it."""

    key: str
    dtype: str


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor's place in its storage, in elements, as the file claims it: nothing is checked yet."""

    storage: Storage
    offset: Any
    size: Any
    stride: Any
    dtype: str


class Other:
    """A value that holds no rows: a set, a sparse tensor, a device."""


class Stream(Protocol):
    """What a pickle is read from; `read` gives fewer bytes at the end."""

    def read(self, n_bytes: int, /) -> bytes: ...
    def readline(self) -> bytes: ...


def parse(pickled: bytes) -> Any:
    """Give the pickled object: dicts, lists, tuples, strings, numbers, `StoredTensor` and `Other`.

    Raises: NeedsPickle, Damaged.
    """
    return parse_next(io.BytesIO(pickled))[0]


def parse_next(stream: Stream) -> tuple[Any, dict[str, str]]:
    """Give the next pickled object of a stream, and the type of each storage that it names, by its key.

    The stream stands behind the pickle afterwards. Raises: NeedsPickle, Damaged.
    """
    machine = _Machine()
    try:
        return machine.run(stream), machine.storages
    except (IndexError, KeyError, ValueError, TypeError, AttributeError, OverflowError) as exc:
        raise Damaged(f"{type(exc).__name__} at an opcode") from exc


class _Machine:
    """Pickle's stack machine, without the opcodes that reach outside it."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stacks under each open mark
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, str] = {}
        self.n_containers = 0

    def run(self, stream: Stream) -> Any:
        while code := stream.read(1):
            if code not in _OPCODES:
                raise NeedsPickle(f"opcode {code!r}")
            name, reader = _OPCODES[code]
            arg: Any = reader(cast(IO[bytes], stream)) if reader else None
            if name in _PLAIN:
                self.stack.append(arg)
            elif name in ("BINPUT", "LONG_BINPUT"):
                self.memo[arg] = self.stack[-1]
            elif name in ("BINGET", "LONG_BINGET"):
                self.stack.append(self.memo[arg])
            elif name == "MEMOIZE":
                self.memo[len(self.memo)] = self.stack[-1]
            elif name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name])
            elif name == "STOP":
                return self.stack.pop()
            elif name not in ("PROTO", "FRAME"):
                self.structure(name, arg)
        raise Damaged("no end")

    def structure(self, name: str, arg: Any) -> None:
        stack = self.stack
        match name:
            case "MARK":
                self.below.append(stack)
                self.stack = []
            case "EMPTY_DICT":
                stack.append(self.counted({}))
            case "EMPTY_LIST":
                stack.append(self.counted([]))
            case "EMPTY_SET":
                stack.append(Other())
            case "TUPLE":
                items = self.pop_mark()
                self.stack.append(self.counted(tuple(items)))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack[-int(name[-1]) :] = [self.counted(tuple(stack[-int(name[-1]) :]))]
            case "APPEND" | "APPENDS":
                items = [stack.pop()] if name == "APPEND" else self.pop_mark()
                self.top(list).extend(items)
            case "SETITEM" | "SETITEMS":
                items = [stack.pop(-2), stack.pop()] if name == "SETITEM" else self.pop_mark()
                self.top(dict).update(zip(map(_checked_key, items[::2]), items[1::2], strict=True))
            case "GLOBAL" | "STACK_GLOBAL":
                if name == "STACK_GLOBAL":
                    short, module = stack.pop(), stack.pop()
                    arg = f"{module} {short}" if isinstance(module, str) and isinstance(short, str) else ""
                stack.append(_global(arg))
            case "BINPERSID":
                stack.append(self.storage(stack.pop()))
            case "REDUCE" | "NEWOBJ":
                args = stack.pop()
                stack.append(_reduced(stack.pop(), args))
            case "BUILD":
                stack.pop()  # attributes of an OrderedDict or a tensor

    def storage(self, pid: Any) -> Storage:
        kind, type_, key, *rest = pid
        if kind != "storage" or not isinstance(type_, Global) or not isinstance(key, str):
            raise Damaged("a reference to no storage")
        if len(rest) > 2 and rest[2] is not None:
            raise Damaged(
                "a storage that is a part of another one, as torch before 1.0 wrote; save it with a newer torch"
            )
        name = type_.name.partition(" ")[2]
        if self.storages.setdefault(key, name) != name:
            self.storages[key] = ""
        return Storage(key, STORAGES.get(name, ""))

    def counted(self, container: Any) -> Any:
        self.n_containers += 1
        if self.n_containers > MAX_CONTAINERS:
            raise Damaged(f"over {MAX_CONTAINERS:,} containers")
        return container

    def pop_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.below.pop()
        return items

    def top(self, kind: type) -> Any:
        if type(self.stack[-1]) is not kind:
            raise Damaged(f"items for a {type(self.stack[-1]).__name__}")
        return self.stack[-1]


def _checked_key(key: Any) -> Any:
    """Let pass what can be hashed at once: a tuple may hold another one a billion times."""
    for part in key if type(key) is tuple else (key,):
        if not isinstance(part, str | bytes | int | None) or (isinstance(part, int) and abs(part) >= MAX_INT_KEY):
            raise Damaged(f"a dict key of {type(part).__name__}")
    return key


def _global(name: str) -> Global:
    module, _, short = name.partition(" ")
    is_torch_name = module == "torch" and short.isidentifier() and short.islower()  # a dtype, layout or quantization
    is_storage = module in ("torch", "torch.cuda") and short.endswith("Storage")
    if name in _KNOWN_GLOBALS or name in _OTHER_GLOBALS or is_torch_name or is_storage:
        return Global(name)
    raise NeedsPickle(f"{module}.{short}"[:120])


def _reduced(function: Any, args: Any) -> Any:
    """Return the result of a call, for the few calls that torch.save writes around plain tensors."""
    if not isinstance(function, Global) or type(args) is not tuple:
        return Other()
    name = function.name.rpartition(" ")[2]
    if name in _REBUILD_TENSOR:
        return _tensor(args, *args[_REBUILD_TENSOR[name] :], typed=name != "_rebuild_tensor_v3")
    if name in _REBUILD_PARAMETER:
        return args[0]
    if name == "_rebuild_from_type_v2":  # a tensor with attributes: (function, type, args, state)
        return _reduced(args[0], args[2])
    if name == "Size":
        return args[0]
    if name == "OrderedDict":
        return {_checked_key(key): value for key, value in args[0]} if args else {}
    return Other()


def _tensor(args: tuple[Any, ...], metadata: Any = None, *, typed: bool) -> StoredTensor | Other:
    storage, offset, size, stride = args[:4]
    if not isinstance(storage, Storage):
        raise Damaged("a tensor without a storage")
    dtype = storage.dtype if typed else args[6].name.partition(" ")[2]
    if metadata:  # a conjugate or negative view: its bytes are not its values
        return Other()
    return StoredTensor(storage, offset, size, stride, dtype)
