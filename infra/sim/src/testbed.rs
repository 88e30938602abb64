//! The simulators that every function needs, and the settings that lead to them: for tests, local world and bench.
//!
//! A test bed always has a table, queues and Telegram. The vendors that only some functions call are started one by
//! one, and [`Testbed::env`] then holds their settings too.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use nbhd::clock::Clock;
use nbhd::config::Env;
use nbhd::domain::generation::Generation;
use nbhd::domain::ids::TenantId;
use nbhd::providers::azure::resource_manager::Group;
use secrecy::ExposeSecret as _;
use uuid::Uuid;

use crate::arm::{ACCOUNT, ENVIRONMENT, LOCATION};
use crate::azure::{Azure, VAULT};
use crate::google::Google;
use crate::journal::Journal;
use crate::model_gateway::ModelGateway;
use crate::rights;
use crate::runtime::{Runtime, Settings};
use crate::sqs::{self, Sqs};
use crate::stripe::Stripe;
use crate::table::{self, Table};
use crate::telegram::Telegram;

/// The bot's id, which its token begins with, of [`Platform::fixed`].
pub const BOT_ID: i64 = 42;
/// The secret part of the bot's token of [`Platform::fixed`].
pub const BOT_SECRET: &str = "the-real-token-of-the-shared-bot";
/// The user name of the bot of [`Platform::fixed`].
pub const BOT_USERNAME: &str = "nbhd_bot";
/// The secret of Telegram's webhook of [`Platform::fixed`].
pub const WEBHOOK_SECRET: &str = "webhook-secret";
/// The key of [`Platform::fixed`] that tenants' ids and the names of their resources are derived from.
pub const TENANT_ID_KEY: &str = "tenant-id-key-of-the-test-bed-0123456789abcdef";
/// The one key of [`Platform::fixed`] that tenants' secrets are derived from.
pub const RUNTIME_KEYS: &str = "k1:runtime-key-of-the-test-bed-0123456789abcdef";
/// Where the API is reached, unless `PUBLIC_BASE_URL` is set to something else.
pub const PUBLIC_BASE_URL: &str = "https://nbhd.example";

/// A generation of the key `k1`, the one of every [`Platform`].
pub fn generation(number: u32) -> Generation {
    Generation { number, key: "k1".parse().ok() }
}

/// The platform's bot and its secrets. They open nothing but the simulators that were started with them.
#[derive(Clone, Debug)]
pub struct Platform {
    /// `TELEGRAM_BOT_USERNAME`.
    pub bot_username: String,
    /// `TELEGRAM_BOT_TOKEN`.
    pub bot_token: String,
    /// The one secret of `TELEGRAM_WEBHOOK_SECRETS`.
    pub webhook_secret: String,
    /// `TENANT_ID_KEY`.
    pub tenant_id_key: String,
    /// `RUNTIME_KEYS`: one key, `k1`.
    pub runtime_keys: String,
    /// `LINK_SIGNING_KEYS`: one key, `k1`.
    pub link_signing_keys: String,
}

impl Platform {
    /// The same one in every run, so that a test can name its secrets.
    pub fn fixed() -> Self {
        Self {
            bot_username: BOT_USERNAME.to_owned(),
            bot_token: format!("{BOT_ID}:{BOT_SECRET}"),
            webhook_secret: WEBHOOK_SECRET.to_owned(),
            tenant_id_key: TENANT_ID_KEY.to_owned(),
            runtime_keys: RUNTIME_KEYS.to_owned(),
            link_signing_keys: "k1:link-signing-key-of-the-test-bed-0123456789".to_owned(),
        }
    }

    /// One whose secrets nobody knows.
    pub fn random(bot_username: &str) -> Self {
        let random = || format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        Self {
            bot_username: bot_username.to_owned(),
            bot_token: format!("7000000001:{}", random()),
            webhook_secret: random(),
            tenant_id_key: random(),
            runtime_keys: format!("k1:{}", random()),
            link_signing_keys: format!("k1:{}", random()),
        }
    }
}

/// Running simulators and the settings of functions that call them; everything stops when it is dropped.
pub struct Testbed {
    /// The time at all simulators.
    pub clock: Clock,
    /// Every request to a simulator, and its answer; its interruption stops requests to the table as well.
    pub journal: Journal,
    /// DynamoDB.
    pub table: Arc<Table>,
    /// SQS.
    pub sqs: Sqs,
    /// Telegram.
    pub telegram: Telegram,
    settings: BTreeMap<&'static str, String>,
}

impl Testbed {
    /// Starts a table in memory, the queues and Telegram for [`Platform::fixed`].
    ///
    /// # Errors
    /// When no loopback port can be bound.
    pub async fn start(clock: Clock) -> anyhow::Result<Self> {
        Self::start_for(&Platform::fixed(), clock, None).await
    }

    /// Starts them for a platform, with the table in the file at `path` if there is one.
    ///
    /// # Errors
    /// When the file cannot be opened or no loopback port be bound.
    pub async fn start_for(platform: &Platform, clock: Clock, path: Option<&Path>) -> anyhow::Result<Self> {
        let journal = Journal::new();
        let table = Table::start(path).await?;
        table.set_interruption(journal.interruption());
        let sqs = Sqs::start(&clock, &journal).await?;
        let Platform { bot_username, bot_token, webhook_secret, tenant_id_key, runtime_keys, link_signing_keys } =
            platform.clone();
        let telegram = Telegram::start(&bot_token, &bot_username, clock.clone(), journal.clone()).await?;
        let settings = BTreeMap::from([
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", rights::NOBODY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "local".to_owned()),
            ("AWS_ENDPOINT_URL_DYNAMODB", table.base_url()),
            ("AWS_ENDPOINT_URL_SQS", sqs.base_url()),
            ("TABLE_NAME", table::NAME.to_owned()),
            ("INBOUND_QUEUE_URL", sqs.url(sqs::INBOUND)),
            ("INBOUND_DLQ_URL", sqs.url(sqs::INBOUND_DLQ)),
            ("REFRESH_QUEUE_URL", sqs.url(sqs::REFRESH)),
            ("REFRESH_DLQ_URL", sqs.url(sqs::REFRESH_DLQ)),
            ("LIFECYCLE_QUEUE_URL", sqs.url(sqs::LIFECYCLE)),
            ("LIFECYCLE_DLQ_URL", sqs.url(sqs::LIFECYCLE_DLQ)),
            ("TELEGRAM_API_URL", telegram.base_url()),
            ("TELEGRAM_BOT_USERNAME", bot_username),
            ("TELEGRAM_BOT_TOKEN", bot_token),
            ("TELEGRAM_WEBHOOK_SECRETS", webhook_secret),
            ("TENANT_ID_KEY", tenant_id_key),
            ("RUNTIME_KEYS", runtime_keys),
            ("LINK_SIGNING_KEYS", link_signing_keys),
            ("PUBLIC_BASE_URL", PUBLIC_BASE_URL.to_owned()),
        ]);
        Ok(Self { clock, journal, table: Arc::new(table), sqs, telegram, settings })
    }

    /// Starts Google.
    ///
    /// # Errors
    /// When no loopback port can be bound.
    pub async fn start_google(&mut self) -> anyhow::Result<Google> {
        let google = Google::start(self.clock.clone(), &self.journal).await?;
        self.settings.extend(google.settings());
        Ok(google)
    }

    /// Starts Stripe.
    ///
    /// # Errors
    /// When no loopback port can be bound.
    pub async fn start_stripe(&mut self) -> anyhow::Result<Stripe> {
        let stripe = Stripe::start(self.clock.clone(), &self.journal).await?;
        self.settings.extend(stripe.settings());
        Ok(stripe)
    }

    /// Starts the model gateway.
    ///
    /// # Errors
    /// When no loopback port can be bound.
    pub async fn start_model_gateway(&mut self) -> anyhow::Result<ModelGateway> {
        let gateway = ModelGateway::start(self.clock.clone(), &self.journal).await?;
        self.settings.extend(gateway.settings());
        Ok(gateway)
    }

    /// Starts Azure; the settings also say where containers are made there, and what they run.
    ///
    /// # Errors
    /// When no key can be made or no loopback port be bound.
    pub async fn start_azure(&mut self) -> anyhow::Result<Azure> {
        let azure = Azure::start(self.clock.clone(), self.journal.clone()).await?;
        let group = azure.arm.group();
        let shared = Group { name: "shared".to_owned(), ..group.clone() };
        self.settings.extend([
            ("AZURE_SHARDS", format!("{}/{ACCOUNT}/{VAULT}", group.subscription_id)),
            ("AZURE_LOCATION", LOCATION.to_owned()),
            ("CONTAINER_ENVIRONMENT", ENVIRONMENT.to_owned()),
            ("ENVIRONMENT_IDENTITY", "nbhd-environment".to_owned()),
            ("PULL_IDENTITY", shared.identity("nbhd-pull").to_string()),
            ("CONTAINER_REGISTRY", "nbhd.azurecr.io".to_owned()),
            ("OPENCLAW_IMAGE", format!("nbhd.azurecr.io/openclaw@sha256:{}", "a".repeat(64))),
            ("MODEL_ID", "vendor/model".to_owned()),
            ("AZURE_RESOURCE_GROUP", group.name),
        ]);
        self.settings.extend(azure.settings());
        Ok(azure)
    }

    /// Starts the runtime of a tenant that knows the webhook secret of one generation.
    ///
    /// Nothing listens where it
    /// sends its answers.
    ///
    /// # Errors
    /// When the generation's key is not listed, or no loopback port can be bound.
    pub async fn start_runtime(&self, tenant_id: TenantId, generation: Generation) -> anyhow::Result<Runtime> {
        let secret = self.env().secret_keys("RUNTIME_KEYS")?.webhook_secret(tenant_id, generation);
        let nowhere = "http://127.0.0.1:9".to_owned();
        let settings = Settings {
            tenant_id: tenant_id.to_string(),
            webhook_secret: secret.context("its key is not listed")?.expose_secret().to_owned(),
            api_root: nowhere.clone(),
            bot_token: "123456:capability".to_owned(),
            api_base_url: nowhere,
            internal_key: "internal key".to_owned(),
        };
        Runtime::start(settings, &self.clock).await
    }

    /// Lets time pass at all simulators.
    pub fn advance(&self, time: Duration) {
        self.clock.advance(time);
    }

    /// Clears what the table and the journal have recorded so far.
    pub fn forget_calls(&self) {
        self.table.clear_calls();
        self.journal.clear();
    }

    /// Gives a setting another value.
    pub fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.settings.insert(name, value.into());
    }

    /// The settings so far, by name.
    pub fn settings(&self) -> &BTreeMap<&'static str, String> {
        &self.settings
    }

    /// The same as functions read them. All of them share these settings; deployed, each has only its own.
    pub fn env(&self) -> Env {
        Env::from_pairs(self.settings.clone())
    }
}
