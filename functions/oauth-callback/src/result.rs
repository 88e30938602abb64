//! What a person is told when it worked.

use axum::http::StatusCode;
use nbhd::clock::Timestamp;
use nbhd::domain::integration::Provider;
use nbhd::flows::connect_link::{Services, UndoRequest};
use nbhd::web::{Button, Page};

use crate::App;
use crate::arrival::Arrival;

/// Connections that were made.
pub(crate) struct Connected {
    pub(crate) providers: Vec<Provider>,
    /// The Google account's address, when Google told it.
    pub(crate) account: Option<String>,
    pub(crate) at: Timestamp,
}

impl Connected {
    /// Names both identities, so that a connection made for someone else is seen and taken back.
    pub(crate) fn page(&self, app: &App, arrival: &Arrival, now: Timestamp) -> Page {
        let connect = &arrival.state.content.connect;
        tracing::info!(code = "connected", services = arrival.services.as_str(), "connected");
        let undo =
            UndoRequest { tenant_id: connect.tenant_id, providers: self.providers.clone(), connected_at: self.at };
        let account = self.account.as_deref().unwrap_or("the account you chose");
        let mut page = Page::new(StatusCode::OK, "Connected").facts(&[
            ("Assistant of", &connect.name),
            ("Google account", account),
            ("Can now read", &names(&self.providers)),
        ]);
        if let Some(missing) = self.not_ticked(arrival.services) {
            page = page.text(&format!("{missing} was not ticked at Google, so your assistant cannot read it."));
        }
        page.text("You can close this page and go back to Telegram.").text("Not you, or the wrong account?").form(
            &app.links.undo_url(arrival.services),
            &[("undo", &app.links.sign_undo(&undo, now))],
            Button::Quiet,
            "Undo",
        )
    }

    /// The message in the chat.
    pub(crate) fn message(&self, services: Services) -> String {
        let account = self.account.as_ref().map(|account| format!(" ({account})")).unwrap_or_default();
        let missing =
            self.not_ticked(services).map(|missing| format!(" {missing} was not ticked, so I cannot read it."));
        let verb = if self.providers.len() == 1 { "is" } else { "are" };
        format!(
            "✅ {}{account} {verb} connected.{} Was this not you? Send /disconnect.",
            names(&self.providers),
            missing.unwrap_or_default()
        )
    }

    fn not_ticked(&self, services: Services) -> Option<String> {
        let missing: Vec<Provider> =
            services.providers().iter().copied().filter(|provider| !self.providers.contains(provider)).collect();
        (!missing.is_empty()).then(|| names(&missing))
    }
}

fn names(providers: &[Provider]) -> String {
    providers.iter().map(|provider| provider.display_name()).collect::<Vec<_>>().join(" and ")
}
