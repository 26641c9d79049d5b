"""The bundle: all that one gateway is to do, as the files of one directory (in a cluster, a mounted Secret).

::

    bundle.json            formatVersion, generation, SHA-256 of every other file
    profiles.json.gz       the DeviceProfiles that its plants use, once
    authorities.json.gz    the brokers' root certificates, once
    plant-<name>.json.gz   one Plant, what matters of its pool, its credentials

An unchanged plant is an unchanged file: a writer packs each plant when that plant changes, puts bundles together
from what is packed, and leaves a file of the bundle before as it is if it holds the same. A plant that cannot be read is
reported and costs the others nothing. The files hold keys: 0600, never logged.
"""

from voke_api.bundle.form import (
    FORMATS,
    MANIFEST,
    MAX_AUTHORITY,
    MAX_BYTES,
    MAX_GENERATION,
    MAX_PLANTS,
    BundleUnreadableError,
    UnknownFormatError,
    hold_the_same,
)
from voke_api.bundle.held import (
    Contents,
    HeldPlant,
    NotHeldError,
    contents,
    credentials_in,
    packed_in,
    says_the_same,
)
from voke_api.bundle.model import (
    Bundle,
    BundlePlant,
    BundleProblem,
    BundleTooLargeError,
    Leaving,
)
from voke_api.bundle.read import needed_files, unpack, unpacking
from voke_api.bundle.write import PackedPlant, assemble, pack, pack_plant, profile_size

__all__ = [
    "FORMATS",
    "MANIFEST",
    "MAX_AUTHORITY",
    "MAX_BYTES",
    "MAX_GENERATION",
    "MAX_PLANTS",
    "Bundle",
    "BundlePlant",
    "BundleProblem",
    "BundleTooLargeError",
    "BundleUnreadableError",
    "Contents",
    "HeldPlant",
    "Leaving",
    "NotHeldError",
    "PackedPlant",
    "UnknownFormatError",
    "assemble",
    "contents",
    "credentials_in",
    "hold_the_same",
    "needed_files",
    "pack",
    "pack_plant",
    "packed_in",
    "profile_size",
    "says_the_same",
    "unpack",
    "unpacking",
]
