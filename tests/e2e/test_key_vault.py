"""Microsoft's own client of Key Vault against the simulated vault, signed in by AWS's word or by a secret."""

import time
import unittest
import uuid

from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.keyvault.secrets import SecretClient
from azure.keyvault.secrets._shared import http_challenge_cache

from sign_in import by_aws, by_secret
from vendors import SETTINGS, Recording, asks

def vault(credential, **options) -> SecretClient:
    # The challenge's resource is the public cloud's, which a vault on this machine is no part of.
    options |= {"api_version": "7.6", "verify_challenge_resource": False}
    return SecretClient(SETTINGS["KEY_VAULT_URLS"].split(",")[0], credential, **options)


class KeyVault(unittest.TestCase):
    def setUp(self) -> None:
        self.transport = Recording()
        self.secrets = vault(by_aws(), transport=self.transport)
        self.name = f"e2e-{uuid.uuid4()}"

    def test_the_first_request_is_bare_and_the_challenge_says_where_to_sign_in(self) -> None:
        http_challenge_cache.clear()
        self.secrets.set_secret(self.name, "one")
        self.assertEqual(self.transport.statuses, [401, 200])
        challenge = http_challenge_cache.get_challenge_for_url(SETTINGS["KEY_VAULT_URLS"].split(",")[0])
        self.assertEqual((challenge.scheme, challenge.tenant_id), ("Bearer", SETTINGS["AZURE_TENANT_ID"]))
        self.assertEqual(challenge.get_resource(), "https://vault.azure.net")

    def test_a_secret_opens_as_well_and_a_wrong_secret_or_audience_does_not(self) -> None:
        vault(by_secret(SETTINGS["AZURE_CLIENT_SECRET"])).set_secret(self.name, "one")
        for credential in [by_secret("wrong"), by_aws("sts.amazonaws.com")]:
            with self.assertRaises(ClientAuthenticationError):
                vault(credential).get_secret(self.name)

    def test_each_set_is_a_version_and_a_disabled_one_is_not_read(self) -> None:
        first = self.secrets.set_secret(self.name, "one", content_type="application/json")
        second = self.secrets.set_secret(self.name, "two")
        self.assertEqual(self.secrets.get_secret(self.name).value, "two")
        read = self.secrets.get_secret(self.name, first.properties.version)
        self.assertEqual((read.value, read.properties.content_type), ("one", "application/json"))

        self.secrets.update_secret_properties(self.name, first.properties.version, enabled=False)
        with self.assertRaises(HttpResponseError) as refused:
            self.secrets.get_secret(self.name, first.properties.version)
        self.assertEqual(refused.exception.status_code, 403)
        versions = {each.version: each.enabled for each in self.secrets.list_properties_of_secret_versions(self.name)}
        self.assertEqual(versions, {first.properties.version: False, second.properties.version: True})

    def test_a_name_never_written_is_not_found(self) -> None:
        with self.assertRaises(ResourceNotFoundError) as missing:
            self.secrets.get_secret(self.name)
        self.assertEqual(missing.exception.error.code, "SecretNotFound")

    def test_a_deleted_name_is_recovered_or_purged_and_refuses_to_be_set(self) -> None:
        self.secrets.set_secret(self.name, "one")
        deleted = self.secrets.begin_delete_secret(self.name).result()
        self.assertGreater(deleted.scheduled_purge_date, deleted.deleted_date)
        with self.assertRaises(ResourceNotFoundError):
            self.secrets.get_secret(self.name)
        with self.assertRaises(ResourceExistsError) as conflict:
            self.secrets.set_secret(self.name, "two")
        self.assertEqual(conflict.exception.error.innererror["code"], "ObjectIsDeletedButRecoverable")

        self.secrets.begin_recover_deleted_secret(self.name).wait()
        self.assertEqual(self.secrets.get_secret(self.name).value, "one")

        self.secrets.begin_delete_secret(self.name).wait()
        self.secrets.purge_deleted_secret(self.name)
        with self.assertRaises(ResourceNotFoundError):
            self.secrets.get_deleted_secret(self.name)
        self.secrets.set_secret(self.name, "anew")
        self.assertEqual(len(list(self.secrets.list_properties_of_secret_versions(self.name))), 1)

    def test_every_page_of_a_list_is_read(self) -> None:
        names = {f"{self.name}-{number}" for number in range(30)}
        for name in names:
            self.secrets.set_secret(name, "value")
        self.assertLessEqual(names, {listed.name for listed in self.secrets.list_properties_of_secrets()})

    def test_a_throttled_client_waits_as_long_as_it_is_told(self) -> None:
        self.secrets.set_secret(self.name, "one")
        self.transport.statuses.clear()
        asks("/throttle/vault")
        start = time.monotonic()
        self.assertEqual(self.secrets.get_secret(self.name).value, "one")
        self.assertEqual(self.transport.statuses, [429, 200])
        self.assertGreaterEqual(time.monotonic() - start, 1)

        asks("/throttle/vault")
        with self.assertRaises(HttpResponseError) as throttled:
            self.secrets.get_secret(self.name, retry_total=0)
        answer = throttled.exception.response
        self.assertEqual((answer.status_code, answer.headers["Retry-After"]), (429, "1"))
