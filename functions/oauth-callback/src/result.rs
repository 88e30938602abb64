//! What a person is told after a consent was saved.

use axum::http::StatusCode;
use nbhd::clock::Timestamp;
use nbhd::domain::integration::Provider;
use nbhd::flows::connect_link::{Services, UndoRequest};
use nbhd::store::TenantView;
use nbhd::web::{ButtonStyle, Page};

use crate::App;
use crate::callback::VerifiedCallback;

/// How soon a page that waits for a result asks again.
const RELOAD_AFTER_SECONDS: u32 = 2;

/// The integrations that one consent made.
pub(crate) struct ConnectResult {
    pub(crate) providers: Vec<Provider>,
    /// The Google account's address; `None` when Google did not tell it.
    pub(crate) account: Option<String>,
    pub(crate) connected_at: Timestamp,
}

impl ConnectResult {
    /// The result of a consent that was saved by an earlier request; the account is read from the rows.
    pub(crate) fn from_recorded(view: TenantView, providers: Vec<Provider>, connected_at: Timestamp) -> Self {
        let row = view.integrations.into_iter().find(|row| providers.contains(&row.provider));
        Self { account: row.and_then(|row| row.account), providers, connected_at }
    }

    /// The page names both the assistant's person and the account, so that a consent given for someone else is noticed
    /// and undone.
    pub(crate) fn to_page(&self, app: &App, callback: &VerifiedCallback) -> Page {
        let connect = &callback.state.content.connect;
        tracing::info!(
            code = "connected",
            services = callback.services.as_str(),
            "account connected; result page sent"
        );
        let undo = UndoRequest {
            tenant_id: connect.tenant_id,
            providers: self.providers.clone(),
            connected_at: self.connected_at,
        };
        let account = self.account.as_deref().unwrap_or("the account you chose");
        let mut page = Page::new(StatusCode::OK, "Connected").definition_list(&[
            ("Assistant of", &connect.person.name),
            ("In Telegram", &connect.person.account()),
            ("Google account", account),
            ("Can now read", &join_names(&self.providers)),
        ]);
        if let Some(missing) = self.missing_services(callback.services) {
            page = page.text(&format!("{missing} was not ticked at Google, so your assistant cannot read it."));
        }
        page.text("You can close this page and go back to Telegram.").text("Not you, or the wrong account?").form(
            &app.links.undo_url(callback.services),
            &[("undo", &app.links.sign_undo(&undo))],
            ButtonStyle::Secondary,
            "Undo",
        )
    }

    /// The message in the chat.
    pub(crate) fn to_message(&self, services: Services) -> String {
        let account = self.account.as_ref().map(|account| format!(" ({account})")).unwrap_or_default();
        let missing =
            self.missing_services(services).map(|missing| format!(" {missing} was not ticked, so I cannot read it."));
        let verb = if self.providers.len() == 1 { "is" } else { "are" };
        format!(
            "✅ {}{account} {verb} connected.{} Was this not you? Send /disconnect.",
            join_names(&self.providers),
            missing.unwrap_or_default()
        )
    }

    fn missing_services(&self, services: Services) -> Option<String> {
        let missing: Vec<Provider> =
            services.providers().iter().copied().filter(|provider| !self.providers.contains(provider)).collect();
        (!missing.is_empty()).then(|| join_names(&missing))
    }
}

/// Shown to a second request while the first is at work: it asks again by itself until there is a result.
pub(crate) fn in_progress_page() -> Page {
    tracing::info!(
        code = "sign_in_in_progress",
        "another request for the same sign-in is at work; page reloads itself"
    );
    Page::new(StatusCode::ACCEPTED, "Almost there")
        .text("Your sign-in is being completed. The result appears here in a few seconds.")
        .reload_after(RELOAD_AFTER_SECONDS)
}

fn join_names(providers: &[Provider]) -> String {
    providers.iter().map(|provider| provider.display_name()).collect::<Vec<_>>().join(" and ")
}
