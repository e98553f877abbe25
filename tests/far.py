"""A pretended accelerator, for machines without one.

Its tensors hold numbers of the CPU and say that they are elsewhere. They refuse to mix
with tensors of the CPU, as those of a GPU do, draw random numbers of their own, and
count every wait: each moment at which the program would stand still until the device
has caught up. Two flavours: `far` has the rules of CUDA, and `mps` says that it is
`mps:0` and knows no float64.

    with far.pretend('mps') as device:
        x = torch.randn(4, 2, device=device)
        with far.waits() as seen:
            x.sum().item()
        assert len(seen) == 1, seen

It rests on a hook of PyTorch that is experimental: `AVAILABLE` says whether this
version has it.
"""
import contextlib
import functools
import os
import sys
from pathlib import Path
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils import backend_registration
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode

HOOK = '_setup_privateuseone_for_python_backend'
AVAILABLE = hasattr(backend_registration, HOOK)
FLAVOURS = ('far', 'mps')
NO_FLOAT64 = ('Cannot convert a MPS Tensor to float64 dtype as the MPS framework '
              "doesn't support float64. Please use float32 instead.")

# places inside these are not where a wait comes from
TORCH = os.path.dirname(torch.__file__)
ROOT = str(Path(__file__).resolve().parent.parent)

# PyTorch marks the operations whose result is a number or a shape that only the device
# knows; some others look at a flag of success.
WAITING = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
LOOKING = {'_linalg_check_errors', '_linalg_eigh', '_linalg_svd', 'linalg_lstsq'}

# Operations that read whole tensors, even those without dimensions, where they lie.
# All others take a number of the CPU as an argument.
STRICT = {'embedding', 'index_select', 'gather', 'scatter', 'where_condition', 'cat'}

# PyTorch forms these in float64, but on an MPS device, which only its own C++ knows.
WIDE = {torch.quantile, torch.nanquantile, torch.Tensor.quantile,
        torch.Tensor.nanquantile}

_seen = []              # the lists that are being written to, the innermost last
_flavour = None         # of the device that is there now
_wide = False           # is float64 let through just now?
_lent = False           # does the device draw from the CPU's random numbers just now?


class _Module(backend_registration._DummyBackendModule if AVAILABLE else object):
    "What `torch.far` is: a device with random numbers of its own"
    def __init__(self):
        self.generator = torch.Generator().manual_seed(1)

    def get_amp_supported_dtype(self):
        return [torch.bfloat16, torch.float16]

    def mem_get_info(self, device=None):
        return 2 ** 30, 2 ** 31

    def memory_allocated(self, device=None):
        return 0

    memory_reserved = memory_allocated

    def empty_cache(self):
        pass

    def synchronize(self, device=None):
        _wait('synchronize')

    def manual_seed_all(self, seed):
        # not the numbers that the CPU draws from this seed
        self.generator.manual_seed((seed + 0x5EED) % 2 ** 63)

    manual_seed = manual_seed_all

    def get_rng_state(self, device=None):
        return self.generator.get_state()

    def set_rng_state(self, state, device=None):
        self.generator.set_state(state)


_module = _Module()
if AVAILABLE:
    getattr(backend_registration, HOOK)('far', _module)


# what `torch.mps` says where that device is the pretended one
MPS = dict(recommended_max_memory=lambda: 2 ** 30, driver_allocated_memory=lambda: 0,
           current_allocated_memory=lambda: 0, empty_cache=_module.empty_cache,
           synchronize=_module.synchronize, manual_seed=_module.manual_seed,
           get_rng_state=_module.get_rng_state,
           set_rng_state=_module.set_rng_state)


def _is_far(device):
    return device is not None and device.type in FLAVOURS


class Far(torch.Tensor):
    "A tensor on the pretended device; `near` holds its numbers"
    @staticmethod
    def __new__(cls, near, requires_grad=False):
        wide = near.dtype in (torch.float64, torch.complex128)
        if wide and _flavour == 'mps' and not _wide:
            raise TypeError(NO_FLOAT64)
        return torch.Tensor._make_wrapper_subclass(
            cls, near.shape, strides=near.stride(), dtype=near.dtype,
            storage_offset=near.storage_offset(), device='far:0',
            requires_grad=requires_grad)

    def __init__(self, near, requires_grad=False):
        self.near = near
        self.where = 'mps:0' if _flavour == 'mps' else 'far:0'

    __torch_function__ = torch._C._disabled_torch_function_impl

    @property
    def device(self):
        return torch.device(self.where)

    @property
    def is_mps(self):
        return self.where == 'mps:0'

    def __repr__(self, *, tensor_contents=None):
        return f'Far({self.near}, device={self.where})'

    def __format__(self, spec):
        return format(self.item(), spec) if self.dim() == 0 else repr(self)

    def tolist(self):
        return self.cpu().tolist()

    def numpy(self, *, force=False):
        if force:
            return self.detach().cpu().numpy()
        kind = self.device.type
        raise TypeError(f"can't convert {kind}:0 device type tensor to numpy. Use "
                        'Tensor.cpu() to copy the tensor to host memory first.')

    def __array__(self, dtype=None, copy=None):
        return self.numpy()

    def data_ptr(self):
        return self.near.data_ptr()

    def __deepcopy__(self, memo):
        if id(self) not in memo:
            with torch.no_grad():
                new = Far(self.near.clone(), self.requires_grad)
            if getattr(self, '_is_param', False):
                new._is_param = True
            if self.grad is not None:
                new.grad = self.grad.__deepcopy__(memo)
            memo[id(self)] = new
        return memo[id(self)]

    def __reduce_ex__(self, protocol):
        # a file holds what `torch.load(..., map_location='cpu')` makes of it
        out = self.detach().cpu().requires_grad_(self.requires_grad)
        if getattr(self, '_is_param', False):
            out = torch.nn.Parameter(out, self.requires_grad)
        return out.__reduce_ex__(protocol)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


def _place():
    "Who made the device wait: the innermost line of the project, and of anyone else"
    frame, inner, own = sys._getframe(2), None, None
    while frame is not None and own is None:
        path = frame.f_code.co_filename
        if path != __file__ and not path.startswith(TORCH):
            name = os.path.basename(path)
            line = f'{name}:{frame.f_lineno} {frame.f_code.co_name}'
            inner = inner or line
            if path.startswith(ROOT) and 'site-packages' not in path:
                own = line
        frame = frame.f_back
    if own is None or own == inner:
        return inner or 'a thread of autograd'
    return f'{inner} < {own}'


def _wait(what):
    if _seen:
        line = f'{what} in {_place()}'
        for seen in _seen:
            seen.append(line)


def _mask(a):
    return isinstance(a, torch.Tensor) and a.dtype in (torch.bool, torch.uint8)


def _check_places(name, args, far, near):
    "Refuse to mix devices where a GPU refuses"
    if name in ('index', 'index_put', 'index_put_', '_index_put_impl_'):
        # rows may be named by the CPU, and are copied; values may not
        if not isinstance(args[0], Far):
            raise RuntimeError('indices should be either on cpu or on the same device '
                               'as the indexed tensor (cpu)')
        moved = [i for i in args[1] if torch.is_tensor(i) and not isinstance(i, Far)]
        for _ in moved:
            _wait(f'{name} by rows of the CPU')
        near = [a for a in args[2:3] if torch.is_tensor(a) and not isinstance(a, Far)]
    if name == 'where' and not isinstance(args[0], Far) and args[0].dim() == 0:
        near = [*near, args[0][None]]
    for a in near:
        if a.dim() > 0 or name in STRICT:
            raise RuntimeError(
                'Expected all tensors to be on the same device, but found at least two '
                f'devices, {far[0].device} and {a.device}! (when checking the '
                f'arguments of {name}, one of shape {tuple(a.shape)})')


def _count(name, waits, args, kwargs):
    "Count what makes the program stand still until the device has caught up"
    if name in ('index', 'index_put', 'index_put_'):
        # a number of the CPU is filled in where a mask says so, without looking
        filled = name != 'index' and not isinstance(args[2], Far)
        if any(_mask(i) for i in args[1]) and not filled:
            _wait(f'{name} by a mask')
    elif name == 'repeat_interleave' and kwargs.get('output_size') is not None:
        return
    elif waits:
        _wait(name)


def _count_copy(name, args, kwargs, goes_far):
    "Count copies between the two places, unless the processor need not wait for them"
    if name in ('copy_', 'copy'):
        to, source = args[0], args[1]
        later = args[2] if len(args) > 2 else kwargs.get('non_blocking', False)
        to_far, from_far = isinstance(to, Far), isinstance(source, Far)
    else:
        source, later = args[0], kwargs.get('non_blocking', False)
        to_far, from_far = goes_far, isinstance(source, Far)
    if from_far and not to_far:
        # even one that does not block must be waited for before it can be read
        _wait('copy to the CPU')
    elif to_far and not from_far and not later:
        _wait('copy from the CPU')


def _random(func, args, kwargs, generator):
    "Draw on the device: from its own state, not from the CPU's"
    if generator is not None:
        raise RuntimeError(f"Expected a '{_flavour}' device type for generator but "
                           f"found '{generator.device.type}'")
    if _lent:
        return func(*args, **kwargs)
    before = torch.get_rng_state()
    torch.set_rng_state(_module.generator.get_state())
    try:
        return func(*args, **kwargs)
    finally:
        _module.generator.set_state(torch.get_rng_state())
        torch.set_rng_state(before)


@functools.cache
def _facts(func):
    "Name and marks of an operation"
    name, tags = func._schema.name.removeprefix('aten::'), set(func.tags)
    return name, bool(WAITING & tags) or name in LOOKING, tags


def _each(f, a):
    "`f` of whatever stands in nested lists and tuples"
    return type(a)([_each(f, b) for b in a]) if isinstance(a, (list, tuple)) else f(a)


def _run(func, args, kwargs):
    "One operation: check who mixes with whom, count, compute on the CPU, wrap"
    far, near = [], []

    def unwrap(a):
        if isinstance(a, Far):
            far.append(a)
            return a.near
        if isinstance(a, torch.Tensor):
            near.append(a)
        elif isinstance(a, torch.device) and a.type in FLAVOURS:
            return torch.device('cpu')
        return a

    device = kwargs.get('device')
    plain = [_each(unwrap, a) for a in args]
    options = {k: _each(unwrap, a) for k, a in kwargs.items()}
    goes_far = _is_far(device) or bool(far) and device is None
    name, waits, tags = _facts(func)
    if name in ('copy_', 'copy', '_to_copy'):
        _count_copy(name, args, kwargs, goes_far)
        goes_far = isinstance(args[0], Far) if name == 'copy_' else goes_far
    elif far:
        _check_places(name, args, far, near)
        _count(name, waits, args, kwargs)
    if torch.Tag.nondeterministic_seeded in tags:
        out = _random(func, plain, options, kwargs.get('generator'))
    else:
        out = func(*plain, **options)
    if torch.Tag.inplace_view in tags:
        # the wrapper gets its new shape too
        with no_dispatch():
            func(*args, **kwargs)
    same = {id(a.near): a for a in far}

    def wrap(a):
        if not isinstance(a, torch.Tensor) or a.device.type != 'cpu':
            return a
        if not goes_far:
            return a
        old = same.get(id(a))
        return Far(a) if old is None else old

    return _each(wrap, out)


class _Elsewhere(TorchDispatchMode):
    "Inside: what is made on the device, or moved to it, is a Far"
    @classmethod
    def _should_skip_dynamo(cls):
        # nothing is compiled in here, and to make sure of it costs time at each call
        return False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if Far not in types and not _is_far(kwargs.get('device')):
            return func(*args, **kwargs)
        return _run(func, args, kwargs)


class _Wide(TorchFunctionMode):
    "Inside: what PyTorch itself computes in float64 may pass"
    def __torch_function__(self, func, types, args=(), kwargs=None):
        global _wide
        before, _wide = _wide, _wide or func in WIDE
        try:
            return func(*args, **(kwargs or {}))
        finally:
            _wide = before


@contextlib.contextmanager
def pretend(
    flavour='far', # of FLAVOURS
):
    "A device that is there inside the block; tensors made on it are of no use outside"
    global _flavour
    if _flavour is not None:
        raise RuntimeError('there is such a device already')
    lift = torch._C._only_lift_cpu_tensors()
    overwrite = torch.__future__.get_overwrite_module_params_on_conversion()
    _flavour = flavour
    # torch.tensor(..., device=) makes a tensor of the CPU first, then moves it
    torch._C._set_only_lift_cpu_tensors(True)
    # what a wrapper holds is not changed by setting its `data`
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(_Elsewhere())
            if flavour == 'mps':
                stack.enter_context(_Wide())
                stack.enter_context(mock.patch.dict(vars(torch.mps), MPS))
            yield torch.device(f'{flavour}:0')
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(overwrite)
        torch._C._set_only_lift_cpu_tensors(lift)
        _flavour = None


@contextlib.contextmanager
def waits():
    "The waits inside the block: one line each, what and where, in order"
    seen = []
    _seen.append(seen)
    try:
        yield seen
    finally:
        # by identity: two lists may hold the same lines
        _seen[:] = [s for s in _seen if s is not seen]


@contextlib.contextmanager
def lent_numbers():
    "Inside, the device draws the random numbers that the CPU would draw in its place"
    global _lent
    before, _lent = _lent, True
    try:
        yield
    finally:
        _lent = before
