"""Certificates of a test, made by the openssl command."""

import subprocess

NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


def _openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


class Identity:
    """The files of a certificate and its key."""

    def __init__(self, folder, name):
        self.certificate = folder / f"{name}.pem"
        self.key = folder / f"{name}.key"

    def replace_by(self, other):
        """Takes over another's files' content, as a rotation does."""
        self.certificate.write_bytes(other.certificate.read_bytes())
        self.key.write_bytes(other.key.read_bytes())


class Authority(Identity):
    """A certificate authority, whose files lie in a folder."""

    def __init__(self, folder, name="authority"):
        super().__init__(folder, name)
        self._folder = folder
        _openssl("req", "-x509", *NEW_KEY, "-subj", f"/CN={name}", "-days", 3650,
                 "-keyout", self.key, "-out", self.certificate)  # fmt: skip

    def issue(self, name, days=2):
        """A certificate for this machine; of no days, one that has expired."""
        issued = Identity(self._folder, f"{self.certificate.stem}-{name}")
        request = self._folder / "request"
        _openssl("req", *NEW_KEY, "-subj", f"/CN={name}", "-keyout", issued.key, "-out", request,
                 "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")  # fmt: skip
        _openssl("x509", "-req", "-in", request, "-days", days or -1, "-copy_extensions", "copy",
                 "-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial",
                 "-out", issued.certificate)  # fmt: skip
        return issued
