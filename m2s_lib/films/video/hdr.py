"""High dynamic range to the pictures that encoders and screens know (BT.2100 to BT.709).

PQ and HLG pictures shown as they are look flat and grey: half of their code values are for lights brighter
than white. Small pictures are mapped by the formulas of ITU-R BT.2100, with the reference white of BT.2408
(203 cd/m2) as white; what is brighter is compressed, not cut off.
"""

import numpy as np

PQ, HLG = 16, 18  # FFmpeg's numbers of the transfer functions
BT2020 = 9  # FFmpeg's number of the wide primaries
WHITE = 203.0  # cd/m2, BT.2408
_HLG_PEAK = 1000.0  # cd/m2, the nominal display of HLG
_KNEE = 0.8  # of white, from which on lights are compressed
# linear BT.2020 to linear BT.709 (ITU-R BT.2087)
_TO_709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])


def to_sdr(picture: np.ndarray, transfer: int, primaries: int) -> np.ndarray:
    """RGB uint16 [h, w, c] of an HDR frame as RGB uint8 [h, w, c].

    Args:
        transfer: PQ or HLG. primaries: `BT2020`, or others that stay as they are.
    """
    signal = picture.astype(np.float64) / 65_535
    light = (_pq_light(signal) if transfer == PQ else _hlg_light(signal)) / WHITE  # 1 is white
    if primaries == BT2020:
        light = light @ _TO_709.T
    light = _compress(np.clip(light, 0, None))
    return np.round(255 * light ** (1 / 2.4)).astype(np.uint8)  # BT.1886, what screens show


def _pq_light(signal: np.ndarray) -> np.ndarray:
    """cd/m2 of PQ's code values 0..1 (BT.2100, table 4)."""
    m1, m2 = 2610 / 16384, 2523 / 4096 * 128
    c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    x = signal ** (1 / m2)
    return 10_000 * (np.clip(x - c1, 0, None) / (c2 - c3 * x)) ** (1 / m1)


def _hlg_light(signal: np.ndarray) -> np.ndarray:
    """cd/m2 of HLG's code values 0..1 on the nominal display (BT.2100, table 5)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    luminance = scene @ np.array([0.2627, 0.6780, 0.0593])
    return _HLG_PEAK * scene * np.clip(luminance, 1e-6, None)[..., None] ** 0.2


def _compress(light: np.ndarray) -> np.ndarray:
    """Lights 0.. as 0..1: unchanged below the knee, from there smoothly towards white."""
    over = np.clip(light - _KNEE, 0, None) / (1 - _KNEE)
    return np.where(light <= _KNEE, light, _KNEE + (1 - _KNEE) * over / (1 + over))
