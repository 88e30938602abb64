//! A seeded subscriber: what the reconciler will make of a subscription, made at once.

use nbhd::config::Env;
use nbhd::domain::ids::{ChatId, TenantId};
use nbhd::domain::route::Route;
use nbhd::domain::secrets::{KeyHash, MasterKey};
use nbhd::domain::tenant::{Lifecycle, Tenant};
use nbhd_sim::runtime::{Runtime, Settings};
use secrecy::ExposeSecret as _;
use uuid::Uuid;

use crate::world::World;

/// The generation of every seeded tenant's derived secrets.
const GENERATION: u32 = 1;

/// A tenant and its container.
#[derive(Clone, Debug)]
pub struct Subscriber {
    /// The tenant.
    pub tenant_id: TenantId,
    /// Its one chat.
    pub chat_id: ChatId,
    /// What only its container knows.
    pub secrets: Settings,
    /// Its container.
    pub runtime: Runtime,
}

/// Writes the rows and starts the container; a tenant that the table knows from an earlier run keeps its identity.
pub(crate) async fn seed(world: &World, chat_id: ChatId) -> anyhow::Result<Subscriber> {
    let store = world.store()?;
    let known = match store.route(chat_id).await? {
        Some(route) => store.tenant(route.tenant_id).await?,
        None => None,
    };
    let tenant_id = known.as_ref().map_or_else(TenantId::random, |tenant| tenant.tenant_id);
    let secrets = secrets(world, tenant_id)?;
    let tenant = Tenant {
        lifecycle: Lifecycle::Active,
        key_hashes: vec![KeyHash::of(&secrets.internal_key)],
        generation: GENERATION,
        time_zone: known.as_ref().and_then(|tenant| tenant.time_zone.clone()),
        ..Tenant::new(tenant_id, chat_id)
    };
    store.save_tenant(&tenant, known.map(|tenant| tenant.version)).await?;
    let runtime = Runtime::start(secrets.clone(), &world.clock).await?;
    let route = Route {
        runtime_url: Some(runtime.base_url()),
        generation: GENERATION,
        activated_at: Some(world.clock.now()),
        ..Route::new(chat_id, tenant_id)
    };
    store.put_route(&route).await?;
    Ok(Subscriber { tenant_id, chat_id, secrets, runtime })
}

fn secrets(world: &World, tenant: TenantId) -> anyhow::Result<Settings> {
    let key = platform_key(&world.env)?;
    let bot_id = world.bot_id();
    let capability = key.relay_capability(tenant, GENERATION);
    Ok(Settings {
        tenant_id: tenant.to_string(),
        webhook_secret: key.webhook_secret(tenant, GENERATION).expose_secret().to_owned(),
        api_root: format!("{}/telegram/relay/{tenant}", world.base_url()),
        bot_token: format!("{bot_id}:{}", capability.expose_secret()),
        api_base_url: world.base_url().to_owned(),
        internal_key: format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()),
    })
}

fn platform_key(env: &Env) -> anyhow::Result<MasterKey> {
    Ok(MasterKey::new(&env.secret("PLATFORM_KEY", "the platform key")?)?)
}
