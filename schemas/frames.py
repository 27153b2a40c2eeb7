"""Bytes of the two frame topics to arrays and back: the one door to the codecs.

    encode_iterations(IterationFrame) -> bytes      decode_iterations(bytes) -> IterationFrame
                                                    decode_packed(bytes) -> PackedIterations
    encode_energy(EnergyFrame) -> bytes             decode_energy(bytes) -> EnergyFrame

    prepare()    loads what decoding needs now, rather than at the first frame

Decoding raises UnknownVersion or MalformedMessage for anything that does not hold together, and nothing else.
Encoding raises MalformedMessage for a frame that decoding would refuse, so the producer learns of it first.
"""

from schemas.energy_codec import decode_energy, encode_energy, prepare_energy
from schemas.iteration_decoder import decode_iterations, decode_packed, prepare_iterations
from schemas.iteration_encoder import encode_iterations

__all__ = [
    "decode_energy",
    "decode_iterations",
    "decode_packed",
    "encode_energy",
    "encode_iterations",
    "prepare",
]


def prepare() -> None:
    """Load the compiled decoders now and not at the first frames; without Numba there is nothing to load."""
    prepare_energy()
    prepare_iterations()
