"""Keys as openssl makes them, and bundles that are signed with them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from liveness_core.bundle.signature import TrustedKeys, sign_bundle


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key pair, in files."""

    key: ec.EllipticCurvePrivateKey
    private: Path
    public: Path

    @classmethod
    def make(
        cls, folder: Path, name: str = "signer", curve: ec.EllipticCurve | None = None, passphrase: str = ""
    ) -> Self:
        """Write NAME.pem to `folder/keys` and NAME.key beside it."""
        key = ec.generate_private_key(curve or ec.SECP256R1())
        public, private = folder / "keys" / f"{name}.pem", folder / f"{name}.key"
        public.parent.mkdir(exist_ok=True)
        protection = serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else None
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                protection or serialization.NoEncryption(),
            )
        )
        public.write_bytes(
            key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
        return cls(key, private, public)

    @property
    def trusted(self) -> TrustedKeys:
        """Accepts what this key signs."""
        return TrustedKeys([self.key.public_key()])

    def sign(self, bundle: Path) -> Path:
        """Sign the bundle in this folder."""
        sign_bundle(bundle, self.key)
        return bundle
