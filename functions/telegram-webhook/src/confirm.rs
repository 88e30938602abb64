//! The answer to a start token: who sends it decides whether an account is connected.
//!
//! The page after Google's consent shows the token to whoever stands in front of it. From the link's own chat it
//! confirms that the assistant is theirs. From any other chat, known or not, suspended or over the limit, it says that
//! somebody was led through the consent by a link that is not theirs: the link is spent, and they are told.

use nbhd::clock::Timestamp;
use nbhd::domain::route::{Route, RouteStatus};
use nbhd::domain::sign_in::{NONCE_RETENTION, SignIn, SignInId, StartVerdict};
use nbhd::domain::update::PrivateUpdate;
use nbhd::store::NonceState;
use serde::de::IgnoredAny;

use crate::replies::{self, Reply};
use crate::{App, Error};

/// What is said to a start token.
pub(crate) enum StartAnswer {
    /// No sign-in has this token, or not any more: it is an ordinary `/start`.
    NoSignIn,
    /// The reply; `None` for a chat that was told before.
    Answered(Option<Reply>),
}

impl App {
    /// Answers a start token; one read, and at most two writes. `route` is that of the chat, if it has one.
    pub(crate) async fn answer_start_token(
        &self,
        id: &SignInId,
        route: Option<&Route>,
        update: &PrivateUpdate,
        now: Timestamp,
    ) -> Result<StartAnswer, Error> {
        let Some(sign_in) = self.store.load_sign_in(id).await? else { return Ok(StartAnswer::NoSignIn) };
        let verdict = sign_in.judge(route.map(|route| route.tenant_id), update.update_id, now);
        let chat = update.chat;
        let reply = match (verdict, route) {
            (StartVerdict::Repeated, _) => return Ok(StartAnswer::Answered(None)),
            (StartVerdict::OtherChat, _) => self.refuse(id, &sign_in, update, now).await?,
            (StartVerdict::Confirm, Some(route)) if route.status == RouteStatus::Suspended => {
                replies::suspended(chat, self.portal_button(route, update, now))
            }
            (StartVerdict::Confirm, _) => {
                // Whoever was quicker confirmed it too, or refused it; the page knows.
                self.store.confirm_sign_in(id, now).await?;
                replies::confirmed(chat)
            }
            (StartVerdict::Confirmed, _) => replies::confirmed(chat),
            (StartVerdict::TooLate, _) => replies::confirmed_too_late(chat),
            (StartVerdict::Refused, _) => replies::confirmed_elsewhere(chat),
        };
        Ok(StartAnswer::Answered(Some(reply)))
    }

    /// Spends the link before the chat is marked as told: a kill in between leaves an update that Telegram sends again.
    async fn refuse(
        &self,
        id: &SignInId,
        sign_in: &SignIn,
        update: &PrivateUpdate,
        now: Timestamp,
    ) -> Result<Reply, Error> {
        let nonce = self.store.spend_nonce::<IgnoredAny>(&sign_in.jti, now, NONCE_RETENTION).await?;
        let was_completed = matches!(nonce, NonceState::Spent { outcome: Some(_), .. });
        self.store.refuse_sign_in(id, update.update_id).await?;
        tracing::warn!(
            code = "sign_in_refused",
            tenant_id = %sign_in.tenant_id,
            "a start token came from another chat than its link: somebody was led through Google's consent by a link \
             that is not theirs; the link is spent"
        );
        Ok(replies::someone_elses_link(update.chat, was_completed))
    }
}
