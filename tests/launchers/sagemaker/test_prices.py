"""What an hour costs is the config's word, else AWS's list's, else it is said that nobody knows."""

from __future__ import annotations

import json

import pytest

from rlpipe.config.launchers import SageMakerConfig
from rlpipe.launchers.sagemaker.cloud import Cloud
from rlpipe.launchers.sagemaker.prices import hourly
from tests.launchers.sagemaker.test_problems import Answers


def listed(usage: str, dollars: str, unit: str = "Hrs") -> str:
    terms = {"OnDemand": {"X": {"priceDimensions": {"Y": {"unit": unit, "pricePerUnit": {"USD": dollars}}}}}}
    return json.dumps({"product": {"attributes": {"usagetype": usage}}, "terms": terms})


def cloud(*rows: str, refused: str | None = None) -> Cloud:
    pytest.importorskip("boto3")
    made = Cloud("eu-central-1")
    made._clients["pricing"] = Answers(get_products=refused or {"PriceList": list(rows)})
    return made


def test_the_list_s_price_of_training_counts(monkeypatch):
    rows = [listed("EUC1-Host:ml.g5.xlarge", "9"), listed("EUC1-Train:ml.g5.xlarge", "1.761")]
    found = hourly(SageMakerConfig(), cloud(*rows))
    assert (found.dollars, found.words) == (1.761, "ml.g5.xlarge")
    assert "spare capacity is billed less" in hourly(SageMakerConfig(spot=True), cloud(*rows)).words


def test_the_config_s_price_goes_before():
    assert hourly(SageMakerConfig(price=2.5), Cloud(None)).dollars == 2.5


@pytest.mark.parametrize("refused", [None, "AccessDeniedException"])
def test_a_price_that_nobody_knows_is_said(refused):
    found = hourly(SageMakerConfig(), cloud(refused=refused))
    assert found.dollars is None
    assert "hydra.launcher.price=… says it" in found.words
