"""Secrets do not reach logs."""

from __future__ import annotations

from ctrgate.masking import masked


def test_credentials_in_uris_and_under_telling_names_are_masked() -> None:
    values = {
        "tracking": {"uri": "postgresql://ann:s3cret@db/runs", "api_key": "abc"},
        "files": ["https://store/a.parquet?sig=xyz&part=1", "plain.parquet"],
        "num_tokens": 7,
    }
    assert masked(values) == {
        "tracking": {"uri": "postgresql://***@db/runs", "api_key": "***"},
        "files": ["https://store/a.parquet?sig=***&part=1", "plain.parquet"],
        "num_tokens": 7,
    }


def test_what_holds_no_secret_is_left_as_it_is() -> None:
    values = {"uri": "sqlite:///runs/mlflow.db", "server": "http://127.0.0.1:5000", "mail": "a@b", "none": None}
    assert masked(values) == values
