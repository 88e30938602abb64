"""Microsoft's own clients of the resource manager against the simulated one: the parts of a tenant's container."""

import time
import unittest
import uuid

from azure.core.credentials import AccessToken
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.mgmt.appcontainers import ContainerAppsAPIClient
from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.authorization.models import RoleAssignmentCreateParameters
from azure.mgmt.msi import ManagedServiceIdentityClient
from azure.mgmt.msi.models import Identity
from azure.mgmt.storage import StorageManagementClient

from sign_in import by_aws
from vendors import SETTINGS, Recording, asks

SUBSCRIPTION, GROUP, LOCATION = SETTINGS["ARM_SUBSCRIPTION"], SETTINGS["ARM_GROUP"], SETTINGS["ARM_LOCATION"]
ENVIRONMENT, ACCOUNT = SETTINGS["ARM_ENVIRONMENT"], SETTINGS["ARM_ACCOUNT"]
IN_GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers"
SECRETS_USER = "4633458b-17de-408a-b874-0445c86b69e6"
ROLE = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Authorization/roleDefinitions/{SECRETS_USER}"
IMAGE = "registry.example.com/openclaw@sha256:" + "0" * 64


class Nobody:
    """A credential whose tokens nobody gave out."""

    def get_token(self, *scopes, **options):
        return AccessToken("nobody's", int(time.time()) + 3600)


class ResourceManager(unittest.TestCase):
    def setUp(self) -> None:
        self.transport = Recording()
        self.name = f"t{uuid.uuid4().hex[:20]}"
        self.identities = self.client(ManagedServiceIdentityClient, api_version="2024-11-30").user_assigned_identities
        self.roles = self.client(AuthorizationManagementClient, api_version="2022-04-01").role_assignments
        self.shares = self.client(StorageManagementClient, api_version="2025-06-01").file_shares
        self.apps = self.client(ContainerAppsAPIClient, api_version="2026-01-01")
        self.scope = f"{IN_GROUP}/Microsoft.KeyVault/vaults/{SETTINGS['ARM_VAULT']}/secrets/{self.name}"

    def client(self, kind, credential=None, **options):
        options |= {"base_url": SETTINGS["AZURE_RESOURCE_MANAGER_URL"], "transport": self.transport}
        options["credential_scopes"] = ["https://management.azure.com/.default"]
        return kind(credential or by_aws(), SUBSCRIPTION, **options)

    def identity(self):
        return self.identities.create_or_update(GROUP, self.name, Identity(location=LOCATION, tags={"tenant": "t1"}))

    def assigned(self, principal_id: str, name: uuid.UUID):
        body = RoleAssignmentCreateParameters(
            role_definition_id=ROLE, principal_id=principal_id, principal_type="ServicePrincipal"
        )
        return self.roles.create(self.scope, str(name), body)

    def app(self, **template):
        container = {"name": "openclaw", "image": IMAGE, "resources": {"cpu": 1, "memory": "2Gi"}}
        return {
            "location": LOCATION,
            "tags": {"tenant": "t1"},
            "properties": {
                "environmentId": f"{IN_GROUP}/Microsoft.App/managedEnvironments/{ENVIRONMENT}",
                "configuration": {"ingress": {"external": True, "targetPort": 8787}},
                "template": {"containers": [container], "scale": {"minReplicas": 0, "maxReplicas": 1}} | template,
            },
        }

    def test_a_token_that_nobody_gave_out_opens_nothing(self) -> None:
        identities = self.client(ManagedServiceIdentityClient, Nobody()).user_assigned_identities
        with self.assertRaises(ClientAuthenticationError) as refused:
            identities.get(GROUP, self.name)
        self.assertEqual(refused.exception.status_code, 401)
        self.assertIn(SETTINGS["AZURE_TENANT_ID"], refused.exception.response.headers["WWW-Authenticate"])

    def test_an_identity_is_created_read_and_gone(self) -> None:
        made = self.identity()
        self.assertEqual(uuid.UUID(made.principal_id).version, 4)
        read = self.identities.get(GROUP, self.name)
        self.assertEqual((read.principal_id, read.tags, read.location), (made.principal_id, {"tenant": "t1"}, LOCATION))
        self.assertEqual(self.identity().principal_id, made.principal_id)
        for _ in ["once", "and again"]:
            self.identities.delete(GROUP, self.name)
        with self.assertRaises(ResourceNotFoundError) as missing:
            self.identities.get(GROUP, self.name)
        self.assertEqual(missing.exception.error.code, "ResourceNotFound")

    def test_a_role_is_assigned_once_and_for_one_secret(self) -> None:
        principal, name = self.identity().principal_id, uuid.uuid4()
        for _ in ["once", "and again"]:
            made = self.assigned(principal, name)
            self.assertEqual((made.principal_id, made.scope, made.name), (principal, self.scope, str(name)))
        with self.assertRaises(ResourceExistsError) as taken:
            self.assigned(principal, uuid.uuid4())
        self.assertEqual(taken.exception.error.code, "RoleAssignmentExists")
        listed = self.roles.list_for_scope(self.scope, filter="atScope()")
        self.assertIn(str(name), [assignment.name for assignment in listed])
        self.assertEqual(self.roles.delete(self.scope, str(name)).name, str(name))
        with self.assertRaises(ResourceNotFoundError):
            self.roles.get(self.scope, str(name))

    def test_a_new_principal_is_unknown_for_a_while(self) -> None:
        asks("/principals/2")
        self.addCleanup(asks, "/principals/0")
        principal, name = self.identity().principal_id, uuid.uuid4()
        for _ in range(2):
            with self.assertRaises(HttpResponseError) as unknown:
                self.assigned(principal, name)
            self.assertEqual((unknown.exception.status_code, unknown.exception.error.code), (400, "PrincipalNotFound"))
        self.assertEqual(self.assigned(principal, name).principal_id, principal)

    def test_a_share_is_made_known_to_the_environment(self) -> None:
        share = {"properties": {"shareQuota": 5, "metadata": {"tenant": "t1"}}}
        self.assertEqual(self.shares.create(GROUP, ACCOUNT, self.name, share).share_quota, 5)
        file = {"accountName": ACCOUNT, "accountKey": "a2V5", "shareName": self.name, "accessMode": "ReadWrite"}
        storages = self.apps.managed_environments_storages
        storages.create_or_update(GROUP, ENVIRONMENT, self.name, {"properties": {"azureFile": file}})
        shown = storages.get(GROUP, ENVIRONMENT, self.name).properties.azure_file
        self.assertEqual((shown.share_name, shown.access_mode, shown.account_key), (self.name, "ReadWrite", None))
        storages.delete(GROUP, ENVIRONMENT, self.name)
        self.shares.delete(GROUP, ACCOUNT, self.name)
        with self.assertRaises(ResourceNotFoundError):
            storages.get(GROUP, ENVIRONMENT, self.name)
        with self.assertRaises(ResourceNotFoundError):
            self.shares.get(GROUP, ACCOUNT, self.name)

    def test_an_app_comes_up_stops_starts_and_goes_by_operations_that_are_waited_for(self) -> None:
        apps = self.apps.container_apps
        coming = apps.begin_create_or_update(GROUP, self.name, self.app())
        self.assertFalse(coming.done())
        app = coming.result()
        self.assertEqual((coming.status(), app.properties.provisioning_state), ("Succeeded", "Succeeded"))
        self.assertEqual(app.properties.template.containers[0].image, IMAGE)
        self.assertTrue(app.properties.configuration.ingress.fqdn)
        self.assertEqual(self.transport.statuses[0], 201)

        for begin, status in [(apps.begin_stop, "Stopped"), (apps.begin_start, "Running")]:
            begin(GROUP, self.name).result()
            self.assertEqual(apps.get(GROUP, self.name).properties.running_status, status)

        changed = apps.begin_create_or_update(GROUP, self.name, self.app(terminationGracePeriodSeconds=420)).result()
        self.assertEqual(changed.properties.template.termination_grace_period_seconds, 420)

        apps.begin_delete(GROUP, self.name).result()
        with self.assertRaises(ResourceNotFoundError):
            apps.get(GROUP, self.name)
        apps.begin_delete(GROUP, self.name).result()
        self.assertEqual(self.transport.statuses[-1], 204)

    def test_what_is_out_of_form_is_refused(self) -> None:
        body = self.app()
        body["properties"]["template"]["containers"][0]["resources"]["memory"] = "7Gi"
        with self.assertRaises(HttpResponseError) as refused:
            self.apps.container_apps.begin_create_or_update(GROUP, self.name, body)
        self.assertEqual(refused.exception.error.code, "ContainerAppInvalidResourceTotal")

    def test_a_throttled_client_waits_as_long_as_it_is_told(self) -> None:
        self.identity()
        self.transport.statuses.clear()
        asks("/throttle/arm")
        start = time.monotonic()
        self.assertEqual(self.identities.get(GROUP, self.name).name, self.name)
        self.assertEqual(self.transport.statuses, [429, 200])
        self.assertGreaterEqual(time.monotonic() - start, 1)
