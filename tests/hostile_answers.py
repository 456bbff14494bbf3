"""Answers that are none, and frames that are no answers: bodies of a function whose arguments are in `given`."""

TOP = """
import array, asyncio, collections, ctypes, datetime, decimal, enum, fractions, io, json, math, os, struct, sys, types
import numpy as np, torch
"""

ANSWERS: dict[str, str] = {
    # numbers
    "an int that lies": """
class Lie(int):
    def __eq__(self, other): return True
    __ne__ = __lt__ = __gt__ = lambda self, other: False
    __index__ = __int__ = __abs__ = lambda self: 42
    __sub__ = __rsub__ = lambda self, other: 0
    __hash__ = lambda self: 0
return Lie(7)""",
    "a float that lies": """
class Lie(float):
    def __eq__(self, other): return True
    __sub__ = __rsub__ = lambda self, other: 0.0
    hex = lambda self: "nan"
    __hash__ = lambda self: 0
return Lie(7)""",
    "a text that lies": "class Lie(str):\n    __len__ = lambda self: 0\n    __getitem__ = lambda self, i: self\n    encode = lambda self, *a: b'{}'\nreturn Lie('7')",
    "a number that changes": "class Lie(int):\n    def __format__(self, spec): raise SystemExit\n    __repr__ = __str__ = __format__\nreturn Lie(7)",
    "a number of a million digits": "return 1 << 3_400_000",
    "a negative one": "return -(1 << 200_000)",
    "a truth": "return True",
    "minus nothing": "return -0.0",
    "not a number": "return float('nan')",
    "no number in a tensor": "return torch.tensor(float('nan'))",
    "infinite": "return -math.inf",
    "a complex number": "return 1 + 2j",
    "a fraction": "return fractions.Fraction(1, 3)",
    "a decimal": "return decimal.Decimal('nan')",
    "a date": "return datetime.datetime.now()",
    "a member": "return enum.IntEnum('E', 'a b').a",
    # texts and containers
    "bytes": "return b'x' * 1000",
    "memory": "return memoryview(bytearray(1000))",
    "a set": "return {1, 2}",
    "a dict": "return {'answer': given, 'id': 1, 'missing': False}",
    "a dict with odd keys": "return {None: 1, (1, 2): 2, given[0] if isinstance(given[0], str) else 1: 3}",
    "a tuple that lies": "class Lie(tuple):\n    __len__ = lambda self: 2\n    __eq__ = lambda self, other: True\n    __hash__ = None\nreturn Lie()",
    "a list in itself": "x = []; x.append(x); return x",
    "rather deep": "x = 1\nfor _ in range(400): x = [x]\nreturn x",
    "an iterator": "return iter([1, 2])",
    "a generator": "yield from given",
    "nothing": "return None",
    "an ellipsis": "return ...",
    "not implemented": "return NotImplemented",
    "the inputs": "return given",
    "an input": "return given[0]",
    "its own names": "return globals()",
    "a frame": "return sys._getframe()",
    "a module": "return torch",
    "a class": "return int",
    "a file": "return open('/dev/zero', 'rb')",
    "a coroutine": "async def later(): return 1\nreturn later()",
    # types and errors that carry the inputs, or markup
    "a type named by the inputs": "return type(repr(given).replace('\\0', ''), (), {})()",
    "a type named by markup": "return type('<script>alert(1)</script>', (), {})()",
    "a type named by control characters": "return type('\\x1b[2J\\r\\n\\u202e,=1+1', (), {})()",
    "a type whose type lies": "class Meta(type):\n    __name__ = property(lambda cls: repr(given))\nclass Lie(metaclass=Meta): pass\nreturn Lie()",
    "an error named by the inputs": "raise type(repr(given).replace('\\0', ''), (Exception,), {})()",
    "an error that tells the inputs": "raise ValueError(repr(given))",
    "an error named by markup": "raise type('<b>\\x1b[31m', (ValueError,), {})('<img src=x onerror=alert(1)>')",
    "an error named as another": "raise type('NotImplementedError', (Exception,), {})()",
    "an error that says it is unwritten": "raise NotImplementedError(repr(given))",
    "an error that cannot be printed": "class E(Exception):\n    def __str__(self): raise SystemExit\n    __repr__ = __str__\nraise E",
    "an error that is no exception": "class E(BaseException): pass\nraise E",
    "a group of errors": "raise ExceptionGroup(repr(given), [ValueError(repr(given))] * 1000)",
    "an endless chain of errors": "e = ValueError()\ne.__cause__ = e.__context__ = e\nraise e",
    "an interrupt": "raise KeyboardInterrupt",
    "an exit": "raise SystemExit(given)",
    "a generator's exit": "raise GeneratorExit",
    "a lack of memory": "raise MemoryError",
    "an endless recursion": "def f(): return f()\nreturn f()",
    "an error on being described": "class Lie:\n    def __getattribute__(self, name): os._exit(1)\nreturn Lie()",
    # tensors
    "a tensor that lies": """
class Lie(torch.Tensor):
    def __eq__(self, other): return torch.ones(1, dtype=torch.bool)
    def item(self): return 42
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None): return args[0] if args else None
return torch.ones(2, 3).as_subclass(Lie)""",
    "a tensor that is infinite": """
class Lie(torch.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None): raise SystemExit
return torch.ones(2, 3).as_subclass(Lie)""",
    "a tensor without memory": "return torch.zeros(1).expand(1 << 40)",
    "a tensor of strides": "return torch.as_strided(torch.zeros(4), (1 << 20, 1 << 20), (0, 0))",
    "many dimensions": "return torch.zeros((1,) * 60)",
    "no elements": "return torch.zeros(0, 1 << 40)",
    "an empty tensor": "return torch.empty(0)",
    "a tensor on no device": "return torch.ones(2, 3, device='meta')",
    "a sparse tensor": "return torch.eye(3).to_sparse()",
    "a compressed tensor": "return torch.eye(4).to_sparse_csr()",
    "a nested tensor": "return torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])",
    "a quantized tensor": "return torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)",
    "a complex tensor": "return torch.ones(3, dtype=torch.complex64)",
    "a conjugate": "return torch.ones(3, dtype=torch.complex128).conj()",
    "a named tensor": "return torch.ones(2, 3, names=('a', 'b'))",
    "eight bits": "return torch.ones(3).to(torch.float8_e4m3fn)",
    "unsigned": "return torch.ones(3).to(torch.uint64)",
    "truths": "return torch.ones(3, dtype=torch.bool)",
    "with gradients": "return torch.ones(3, requires_grad=True) * 2",
    "a tensor that was freed": "x = torch.ones(3); x.untyped_storage().resize_(0); return x",
    "a tensor beyond its end": "return torch.ones(3).set_(torch.ones(3).untyped_storage(), 2, (1,), (1 << 40,))",
    "a module of PyTorch": "return torch.nn.Linear(2, 2)",
    # arrays
    "an array that lies": "class Lie(np.ndarray):\n    def __array_finalize__(self, x): pass\n    tobytes = lambda self: b''\n    size = 1; shape = ()\nreturn np.ones(3).view(Lie)",
    "an array of objects": "return np.array([print, given], dtype=object)",
    "a structured array": "return np.zeros(3, dtype=[('a', 'i4'), ('b', 'f8')])",
    "a masked array": "return np.ma.masked_array([1.0, 2.0], mask=[True, False])",
    "an array of dates": "return np.array(['2020-01-01'], dtype='datetime64[D]')",
    "an array of texts": "return np.array(['x' * 100, 'y'])",
    "an array of bytes": "return np.array([b'x'], dtype='S100')",
    "a wide array": "return np.ones(3, dtype=np.longdouble)",
    "another order of bytes": "return np.ones(3, dtype='>f8')",
    "an array without memory": "return np.broadcast_to(np.zeros(1), (1 << 20, 1 << 20))",
    "an array on disk": "return np.memmap('/tmp/map', dtype='u1', mode='w+', shape=(1000,))",
    "a matrix": "return np.matrix([[1, 2], [3, 4]])",
    "a scalar that lies": "class Lie(np.float64):\n    item = lambda self: 42\n    __float__ = lambda self: 42.0\nreturn Lie(7)",
    "what says it is an array": "class Lie:\n    def __array__(self, *a, **k): raise SystemExit\n    __float__ = __int__ = __index__ = lambda self: 7\nreturn Lie()",
    "a name for a device": "return torch.device('cuda:99')",
}  # fmt: skip

# those that take long to send
ENDLESS: dict[str, str] = {
    "a dict that lies": "class Lie(dict):\n    items = lambda self: [('answer', 1)] * 10**6\nreturn Lie()",
    "a list that lies": "class Lie(list):\n    __len__ = lambda self: 2\n    __iter__ = lambda self: iter([1] * 10**7)\nreturn Lie()",
    "a list without an end": "import itertools\nclass Lie(list):\n    __iter__ = lambda self: itertools.count()\nreturn (Lie(), Lie()) and Lie([1])",
    "a million parts": "return [0] * 1_000_000",
    "many empty tensors": "return [torch.empty(0)] * 20_000",
    "deep": "x = ()\nfor _ in range(100_000): x = (x,)\nreturn x",
}  # fmt: skip

# what may stand where a function should: expressions
FUNCTIONS: dict[str, str] = {
    "a number": "7",
    "a text": "'def'",
    "a class": "type('A', (), {'__init__': lambda self, *a: None})",
    "a partial": "__import__('functools').partial(lambda x, *a: x, 7)",
    "a builtin": "max",
    "print": "print",
    "exec": "exec",
    "an async function": "__import__('asyncio').sleep",
    "a property": "property(lambda self: 7)",
    "the stand-in": "__import__('course_lib.exercises').exercises.BANK['hw1_mla'].reference",
    "a module of the course": "__import__('course_lib')",
    "what always raises": "type('A', (), {'__call__': lambda self, *a: (_ for _ in ()).throw(SystemExit)})()",
    "what cannot be asked": "type('A', (), {'__getattribute__': lambda self, name: __import__('os')._exit(1)})()",
    "a callable that counts": "type('A', (), {'n': 0, '__call__': lambda self, *a: (setattr(self, 'n', self.n + 1), self.n)[1]})()",
    "a mock": "__import__('unittest.mock').mock.MagicMock()",
}  # fmt: skip

FRAMES: dict[str, str] = {
    "no bytes": "b''",
    "a byte": "b'!'",
    "half a length": "b'\\1\\0'",
    "the largest lengths": "b'\\xff' * 8",
    "a length and no more": "struct.pack('<II', 1000, 0)",
    "an array that does not come": "frame({'tensor': 'float64', 'shape': [1000], 'bytes': 8000}, 8000)",
    "half an array": "frame({'tensor': 'float64', 'shape': [1000], 'bytes': 8000}, 8000, b'x' * 4000)",
    "no JSON": "struct.pack('<II', 4, 0) + b'\\xff\\0[{'",
    "a list": "raw(b'[]')",
    "an empty dict": "raw(b'{}')",
    "not a number": "raw(b'{\"dict\": [[\"answer\", NaN]]}')",
    "deep JSON": "raw(b'[' * 500_000)",
    "many values": "raw(json.dumps({'list': [None] * 100_000}).encode())",
    "a huge number": "raw(b'{\"int\": \"0x' + b'f' * 1_000_000 + b'\"}')",
    "a huge decimal": "raw(b'1' * 1_000_000)",
    "a negative size": "frame({'tensor': 'float64', 'shape': [-1, -8], 'bytes': 64}, 64, b'x' * 64)",
    "sizes that overflow": "frame({'tensor': 'float64', 'shape': [1 << 62, 1 << 62], 'bytes': 0})",
    "sizes of no bytes": "frame({'tensor': 'float64', 'shape': [0, 1 << 62], 'bytes': 0})",
    "sizes that are texts": "frame({'tensor': 'float64', 'shape': '88', 'bytes': '512'}, 512, b'x' * 512)",
    "sizes that are infinite": "raw(b'{\"dict\": [[\"answer\", {\"tensor\": \"float64\", \"shape\": [Infinity], \"bytes\": 8}]]}')",
    "an unknown dtype": "frame({'tensor': 'qint8', 'shape': [], 'bytes': 0})",
    "objects": "frame({'array': 'object', 'shape': [1], 'bytes': 8}, 8, b'x' * 8)",
    "an unknown kind": "frame({'pickle': 'gASVAAAA'})",
    "kinds of other types": "frame({'list': 5})",
    "a dict that is no pairs": "frame({'dict': [[1], [2, 3, 4]]})",
    "another's id": "frame({'int': '0x7'}, number='0x7fffffff')",
    "a negative id": "frame({'int': '0x7'}, number='-0x1')",
    "the end": "raw(json.dumps({'dict': [['over', 'attention_flops']]}).encode()) * 3",
    "ready": "raw(json.dumps({'dict': [['ready', True]]}).encode()) * 3",
    "cells that began": "raw(json.dumps({'dict': [['began', {'int': '0x0'}]]}).encode()) * 1000",
    "a missing function": "raw(json.dumps({'dict': [['missing', True], ['id', {'int': '0x1'}]]}).encode())",
    "an error of every kind": "raw(json.dumps({'dict': [['kinds', {'list': ['SystemExit', '__import__', 'UnicodeDecodeError', 5]}], ['id', {'int': '0x1'}]]}).encode())",
    "an error without kinds": "raw(json.dumps({'dict': [['kinds', 5], ['id', {'int': '0x1'}]]}).encode())",
    "answers for every id": "b''.join(frame({'int': '0x7'}, number=hex(n)) for n in range(200))",
    "a flood": "b'\\0' * 20_000_000",
}  # fmt: skip

FORGER = """
def raw(header, body=0):
    return struct.pack("<II", len(header), body) + header
def frame(answer, body=0, data=b"", number="0x1"):
    pairs = [["answer", answer], ["changed", {"list": []}], ["id", {"int": number}]]
    return raw(json.dumps({"dict": pairs}).encode(), body) + data
def everywhere(data):
    for fd in range(3, 256):
        try: os.write(fd, data) if len(data) < 60_000 else [os.write(fd, data[n:n + 60_000]) for n in range(0, len(data), 60_000)]
        except OSError: pass
"""


def answering(name: str, body: str) -> str:
    """A function of this name with this body."""
    return f"def {name}(*given):\n" + "".join(f"    {line}\n" for line in body.strip().splitlines())
