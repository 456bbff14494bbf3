"""What a training costs: GPU hours, dollars, energy, carbon. Ranges of the assumptions are carried to the result."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from course_lib.quantity import Estimate

Number = float | Estimate  # a figure that is taken as known, or one with its range
ENDS = "every assumption at the end that makes it least, and at the one that makes it most"
HOUR = 3600.0  # s


@dataclass(frozen=True)
class Swing:
    """How far a result goes when one assumption goes from end to end and the others keep their values."""

    name: str
    low: float
    high: float

    @property
    def width(self) -> float:
        return self.high - self.low


@dataclass(frozen=True)
class _Three:
    """A number at its low end, its value and its high end."""

    low: float
    value: float
    high: float

    def __mul__(self, other: "_Three") -> "_Three":
        return _Three(self.low * other.low, self.value * other.value, self.high * other.high)

    def __truediv__(self, other: "_Three") -> "_Three":
        return _Three(self.low / other.high, self.value / other.value, self.high / other.low)


def between(low: float, high: float, unit: str = "", source: str = "") -> Estimate:
    """Something of which only two ends are known; its value is the middle."""
    return Estimate(value=(low + high) / 2, low=low, high=high, interval="assumed range", unit=unit, source=source)


def dollars(gpu_hours: Number, price: Number) -> Estimate:
    """Rent of `gpu_hours` at `price` [dollars an hour]. V3: 2.788e6 h at $2 are $5.576M (arXiv:2412.19437 table 1)."""
    return _estimate(_at_least(0, hours=gpu_hours) * _at_least(0, price=price), "USD", gpu_hours, price)


def utilisation(flops: Number, gpu_hours: Number, peak: Number) -> Estimate:
    """MFU: the part of `peak` [FLOP/s of one GPU] that `flops` in `gpu_hours` come to."""
    got = _positive(FLOPs=flops) / (_positive(hours=gpu_hours) * _positive(peak=peak) * _exactly(HOUR))
    message = "more than the peak: count FLOPs and hours again" if got.value > 1 else ""
    return _estimate(got, "", flops, gpu_hours, peak, message=message)


def gpu_hours(flops: Number, peak: Number, mfu: Number) -> Estimate:
    """Hours [h] that `flops` take on GPUs of `peak` [FLOP/s] when a part `mfu` of it, 0 to 1, is reached."""
    part = _positive(MFU=mfu)
    if part.high > 1:
        raise ValueError(f"want an MFU of 0 to 1, got {part.high:g}; 40% is 0.4")
    return _estimate(_positive(FLOPs=flops) / (_positive(peak=peak) * part * _exactly(HOUR)), "h", flops, peak, mfu)


def energy(gpu_hours: Number, watts: Number, *, host: Number = 0.0, pue: Number = 1.0) -> Estimate:
    """Energy [MWh] of `gpu_hours`.

    `watts`: what one GPU draws. `host`: what the rest of its machine draws, as a part of that; 0 leaves it out. `pue`:
    what the building draws for each watt of its machines (power usage effectiveness), 1 or more.
    """
    machine = _plus_one(_at_least(0, host=host))
    used = _at_least(0, hours=gpu_hours) * _at_least(0, watts=watts) * machine * _at_least(1, PUE=pue)
    return _estimate(used / _exactly(1e6), "MWh", gpu_hours, watts, host, pue)


def emissions(megawatt_hours: Number, grams: Number) -> Estimate:
    """Carbon dioxide [t] of an energy [MWh] on a grid of `grams` of CO2 equivalents a kWh."""
    emitted = _at_least(0, energy=megawatt_hours) * _at_least(0, grams=grams) / _exactly(1e3)
    return _estimate(emitted, "t", megawatt_hours, grams)


def swings(result: Callable[..., Estimate], assumptions: Mapping[str, Number]) -> list[Swing]:
    """Let the assumptions with a range go from end to end, one at a time; the one that matters most comes first.

    `result` is called with them by name.
    """
    values = {name: _three(each).value for name, each in assumptions.items()}
    found = []
    for name, each in assumptions.items():
        if isinstance(each, Estimate) and each.has_interval:
            ends = [result(**values | {name: end}).value for end in (each.low, each.high)]
            found.append(Swing(name, min(ends), max(ends)))
    return sorted(found, key=lambda swing: -swing.width)


def _three(number: Number) -> _Three:
    if not isinstance(number, Estimate):
        return _exactly(number)
    if number.has_interval:
        return _Three(number.low, number.value, number.high)
    return _exactly(number.value)


def _exactly(number: float) -> _Three:
    return _Three(number, number, number)


def _plus_one(three: _Three) -> _Three:
    return _Three(1 + three.low, 1 + three.value, 1 + three.high)


def _at_least(least: float, **named: Number) -> _Three:
    ((name, number),) = named.items()
    three = _three(number)
    if not least <= min(three.low, three.value) <= max(three.value, three.high) < float("inf"):
        raise ValueError(f"want {name} of {least:g} or more, got {number}")
    return three


def _positive(**named: Number) -> _Three:
    ((name, number),) = named.items()
    three = _at_least(0, **named)
    if three.low == 0:
        raise ValueError(f"want {name} above 0, got {number}")
    return three


def _estimate(three: _Three, unit: str, *given: Number, message: str = "") -> Estimate:
    """With a range only if something given has one, and with the sources of all that is given."""
    known = [each for each in given if isinstance(each, Estimate)]
    source = "; ".join(dict.fromkeys(each.source for each in known if each.source))
    if not any(each.has_interval for each in known):
        return Estimate(value=three.value, unit=unit, source=source, message=message)
    return Estimate(
        value=three.value, low=three.low, high=three.high, interval=ENDS, unit=unit, source=source, message=message
    )
