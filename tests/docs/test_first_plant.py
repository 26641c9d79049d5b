"""The way of docs/first-plant.md, and that of docs/client-certificate.md, which goes on from there."""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path

import pytest
import yaml
from cryptography import x509

from tests.docs.walk import DOCS, blocks_of, walk

FIRST_PLANT = blocks_of("first-plant.md")
CERTIFICATE = blocks_of("client-certificate.md")


@pytest.mark.timeout(180)
def test_the_snippets_lead_from_the_data_sheet_to_a_message_that_voke_takes(tmp_path: Path) -> None:
    assert [kind for kind, _ in FIRST_PLANT].count("yaml") == 1
    output = walk(FIRST_PLANT, tmp_path)
    assert "\n== tail" in output, output[-5000:]
    verdict = output[output.index("\n== tail") :]
    assert verdict.count(" ok ") == 6, output[-5000:]
    assert "Voke takes it: telemetry of plant 7c9e6679" in verdict
    assert "0 errors, 0 warnings" in output
    refused = [line for line in output.splitlines() if "refused:" in line]
    assert not refused


@pytest.mark.timeout(180)
def test_a_certificate_that_voke_signed_is_given_back_as_a_secret_and_used(tmp_path: Path) -> None:
    *begun, (_, stop) = FIRST_PLANT
    assert stop.startswith("kill")
    (line,) = [text for kind, text in CERTIFICATE if kind == "yaml"]
    named = f"sed -i 's/^  auth: .*/&\\n{line.rstrip()}/' plant.yaml\n"
    output = walk(
        [*begun, *(("sh", named) if kind == "yaml" else (kind, text) for kind, text in CERTIFICATE)], tmp_path
    )
    assert "\n== kill $(jobs -p)" in output, output[-5000:]
    checked = output[output.index("\n== voke check plant.yaml voke/pool.yaml first-mtls.yaml") :]
    assert "0 errors, 0 warnings" in checked
    secret = yaml.safe_load((tmp_path / "work" / "first-mtls.yaml").read_text())
    certificate = x509.load_pem_x509_certificate(b64decode(secret["data"]["tls.crt"]))
    assert "CN=CPI Root CA" in certificate.issuer.rfc4514_string()
    assert 'event="session opened"' in (tmp_path / "work" / "run.log").read_text()
    assert (tmp_path / "work" / "first-mtls.yaml").stat().st_mode & 0o077 == 0


def test_the_document_stays_short() -> None:
    assert len((DOCS / "first-plant.md").read_text().splitlines()) < 140
