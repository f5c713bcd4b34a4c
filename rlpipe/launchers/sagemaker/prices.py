"""What an hour of an instance costs."""

from __future__ import annotations

import json

from rlpipe.config.launchers import SageMakerConfig
from rlpipe.core.errors import LaunchError
from rlpipe.launchers.base import Hourly
from rlpipe.launchers.sagemaker.cloud import AT, Cloud

WHERE = "us-east-1"
"""The region that AWS's price list is asked in, for all regions."""


def hourly(config: SageMakerConfig, cloud: Cloud) -> Hourly:
    """Return what an hour of a job costs: what the config says, else what AWS's price list does (on demand)."""
    of = f"{config.instance}{', on demand: spare capacity is billed less' if config.spot else ''}"
    if config.price is not None:
        return Hourly(config.price, of)
    try:
        listed = _listed(config.instance, cloud)
    except LaunchError as error:
        return Hourly(None, f"{error.headline}; {AT}.price=… says it")
    if listed is None:
        return Hourly(None, f"AWS's price list does not say what {config.instance} costs; {AT}.price=… says it")
    return Hourly(listed, of)


def _listed(instance: str, cloud: Cloud) -> float | None:
    """Return the price of an hour of training on an instance, None where the list has none. Raises LaunchError."""
    filters = {"regionCode": cloud.region, "instanceName": instance}
    wanted = [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in filters.items()]
    with cloud.answers(f"{AT}.price"):
        pages = (
            cloud.client("pricing", WHERE)
            .get_paginator("get_products")
            .paginate(ServiceCode="AmazonSageMaker", Filters=wanted)
        )
        products = [json.loads(one) for page in pages for one in page["PriceList"]]
    for product in products:
        if f"Train:{instance}" not in product["product"]["attributes"].get("usagetype", ""):
            continue
        for term in product.get("terms", {}).get("OnDemand", {}).values():
            for dimension in term["priceDimensions"].values():
                if dimension["unit"] == "Hrs":
                    return float(dimension["pricePerUnit"]["USD"])
    return None
