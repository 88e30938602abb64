"""Ways to prove our identity at the simulated Entra: by AWS's word for our role, or by a secret."""

import time

import botocore.session
from azure.identity import ClientAssertionCredential, ClientSecretCredential

from vendors import SETTINGS

AUTHORITY = {"authority": SETTINGS["AZURE_AUTHORITY_HOST"], "disable_instance_discovery": True}


def vouched(audience: str = "api://AzureADTokenExchange") -> str:
    """What AWS's own client gets from the simulated STS."""
    sts = botocore.session.get_session().create_client(
        "sts",
        region_name=SETTINGS["AWS_REGION"],
        endpoint_url=SETTINGS["AWS_ENDPOINT_URL_STS"],
        aws_access_key_id=SETTINGS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=SETTINGS["AWS_SECRET_ACCESS_KEY"],
    )
    answer = sts.get_web_identity_token(Audience=[audience], SigningAlgorithm="RS256", DurationSeconds=300)
    assert 290 <= answer["Expiration"].timestamp() - time.time() <= 301, answer["Expiration"]
    return answer["WebIdentityToken"]


def by_aws(audience: str = "api://AzureADTokenExchange") -> ClientAssertionCredential:
    tenant, client = SETTINGS["AZURE_TENANT_ID"], SETTINGS["AZURE_CLIENT_ID"]
    return ClientAssertionCredential(tenant, client, lambda: vouched(audience), **AUTHORITY)


def by_secret(secret: str) -> ClientSecretCredential:
    return ClientSecretCredential(SETTINGS["AZURE_TENANT_ID"], SETTINGS["AZURE_CLIENT_ID"], secret, **AUTHORITY)
