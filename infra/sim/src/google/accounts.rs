//! Accounts, what each grants us, and the codes and tokens that stand for it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use nbhd::clock::Timestamp;
use uuid::Uuid;

use super::calendar::Calendar;
use super::mailbox::Mailbox;

/// Google ends the oldest refresh token of an account and client silently when there would be more.
/// See <https://developers.google.com/identity/protocols/oauth2#expiration>.
const REFRESH_TOKENS_PER_ACCOUNT: usize = 100;
const CODE_LIFETIME: Duration = Duration::from_secs(10 * 60);
/// Google answers `expires_in: 3599`.
pub(super) const ACCESS_LIFETIME: Duration = Duration::from_secs(3599);

/// Everybody with an account, and what was handed out for them.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    by_email: BTreeMap<String, Account>,
    codes: HashMap<String, Code>,
    access: HashMap<String, Access>,
    /// The account of each refresh token, valid or not: a hundred thousand accounts are not searched one by one.
    holders: HashMap<String, String>,
    pub(super) rotation: Rotation,
    pub(super) issued: Vec<String>,
}

/// One person's account.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) email: String,
    pub(super) name: String,
    pub(super) sub: String,
    pub(super) mailbox: Mailbox,
    pub(super) calendar: Calendar,
    pub(super) grant: Option<Grant>,
}

/// What an account allows our project: one grant over all connections, which ends as a whole.
#[derive(Debug, Default)]
pub(super) struct Grant {
    pub(super) scopes: BTreeSet<String>,
    refresh: Vec<RefreshToken>,
}

/// A refresh token, and those that came after it.
#[derive(Debug)]
struct RefreshToken {
    token: String,
    /// Its replacement, while nobody has used that.
    successor: Option<String>,
    scopes: BTreeSet<String>,
}

/// What becomes of a refresh token that was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rotation {
    /// It stays, as Google's do.
    #[default]
    Never,
    /// The answer carries a new one, and the old one ends at once.
    AtOnce,
    /// The answer carries a new one, and the old one is honoured until that is used first.
    WhenUsed,
}

impl RefreshToken {
    fn is_known_as(&self, token: &str) -> bool {
        self.token == token || self.successor.as_deref() == Some(token)
    }
}

/// An authorization code and what it was issued for.
#[derive(Clone, Debug)]
pub(super) struct Code {
    pub(super) email: String,
    pub(super) redirect_uri: String,
    pub(super) scopes: BTreeSet<String>,
    pub(super) challenge: Option<String>,
    pub(super) with_refresh_token: bool,
    pub(super) issued_at: Timestamp,
}

/// What an access token opens.
#[derive(Clone, Debug)]
pub(super) struct Access {
    pub(super) email: String,
    pub(super) scopes: BTreeSet<String>,
    pub(super) expires_at: Timestamp,
}

/// The tokens of one answer of the token endpoint.
#[derive(Debug)]
pub(super) struct Tokens {
    pub(super) access: String,
    pub(super) refresh: Option<String>,
    pub(super) scopes: BTreeSet<String>,
}

impl Accounts {
    pub(super) fn add(&mut self, email: &str, name: &str, time_zone: &str) {
        let sub = (100_000_000_000_000_000_000_u128 + self.by_email.len() as u128 * 7_919).to_string();
        let calendar = Calendar::new(email, time_zone);
        let (mailbox, grant) = (Mailbox::default(), None);
        let account = Account { email: email.to_owned(), name: name.to_owned(), sub, mailbox, calendar, grant };
        self.by_email.insert(email.to_owned(), account);
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Account> {
        self.by_email.values()
    }

    pub(super) fn get(&self, email: &str) -> Option<&Account> {
        self.by_email.get(email)
    }

    /// The account of `email`. A missing one is a mistake of the test.
    pub(super) fn expect(&mut self, email: &str) -> &mut Account {
        let Some(account) = self.by_email.get_mut(email) else { panic!("there is no account `{email}`") };
        account
    }

    /// Adds `scopes` to what the account grants and returns the code for them.
    pub(super) fn issue_code(&mut self, code: Code) -> String {
        let name = self.issue("4/0A");
        let grant = self.expect(&code.email).grant.get_or_insert_default();
        grant.scopes.extend(code.scopes.iter().cloned());
        self.codes.insert(name.clone(), code);
        name
    }

    /// Spends a code; `None` when it is unknown, spent or older than ten minutes.
    pub(super) fn spend_code(&mut self, code: &str, now: Timestamp) -> Option<Code> {
        self.codes.remove(code).filter(|code| now.since(code.issued_at) <= CODE_LIFETIME)
    }

    /// The tokens for a spent code; `None` when the grant ended meanwhile.
    pub(super) fn exchange(&mut self, code: &Code, now: Timestamp) -> Option<Tokens> {
        let refresh = code.with_refresh_token.then(|| self.issue("1//0"));
        let grant = self.by_email.get_mut(&code.email)?.grant.as_mut()?;
        if let Some(refresh) = &refresh {
            self.holders.insert(refresh.clone(), code.email.clone());
            grant.refresh.push(RefreshToken { token: refresh.clone(), successor: None, scopes: code.scopes.clone() });
            let surplus = grant.refresh.len().saturating_sub(REFRESH_TOKENS_PER_ACCOUNT);
            grant.refresh.drain(..surplus);
        }
        Some(Tokens { access: self.access_token(&code.email, &code.scopes, now), refresh, scopes: code.scopes.clone() })
    }

    /// New tokens for a refresh token; `None` when it is unknown or dead.
    pub(super) fn refresh(&mut self, token: &str, now: Timestamp) -> Option<Tokens> {
        let rotation = self.rotation;
        let replacement = (rotation != Rotation::Never).then(|| self.issue("1//0"));
        let email = self.holders.get(token)?.clone();
        if let Some(replacement) = &replacement {
            self.holders.insert(replacement.clone(), email.clone());
        }
        let grant = self.by_email.get_mut(&email)?.grant.as_mut()?;
        let held = grant.refresh.iter_mut().find(|held| held.is_known_as(token))?;
        let scopes = held.scopes.clone();
        match (rotation, &replacement) {
            (Rotation::AtOnce, Some(replacement)) => held.token.clone_from(replacement),
            (Rotation::WhenUsed, Some(replacement)) => {
                token.clone_into(&mut held.token);
                held.successor = Some(replacement.clone());
            }
            (Rotation::Never | Rotation::AtOnce | Rotation::WhenUsed, _) => {}
        }
        Some(Tokens { access: self.access_token(&email, &scopes, now), refresh: replacement, scopes })
    }

    /// Whether [`Self::refresh`] would give tokens for this one.
    pub(super) fn accepts_refresh_token(&self, token: &str) -> bool {
        let account = self.holders.get(token).and_then(|email| self.by_email.get(email));
        let grant = account.and_then(|account| account.grant.as_ref());
        grant.is_some_and(|grant| grant.refresh.iter().any(|held| held.is_known_as(token)))
    }

    /// Ends the whole grant behind an access or refresh token; `false` when it opens nothing.
    pub(super) fn revoke(&mut self, token: &str, now: Timestamp) -> bool {
        let by_access = self.find_access(token, now).map(|access| access.email.clone());
        let holds = |account: &&Account| {
            account.grant.as_ref().is_some_and(|grant| grant.refresh.iter().any(|held| held.is_known_as(token)))
        };
        let email = by_access.or_else(|| self.by_email.values().find(holds).map(|account| account.email.clone()));
        email.and_then(|email| self.by_email.get_mut(&email)).is_some_and(|account| account.grant.take().is_some())
    }

    /// What a live access token opens.
    pub(super) fn find_access(&self, token: &str, now: Timestamp) -> Option<&Access> {
        let access = self.access.get(token).filter(|access| now < access.expires_at)?;
        self.by_email.get(&access.email)?.grant.as_ref().map(|_| access)
    }

    fn access_token(&mut self, email: &str, scopes: &BTreeSet<String>, now: Timestamp) -> String {
        let token = self.issue("ya29.a0");
        let access = Access { email: email.to_owned(), scopes: scopes.clone(), expires_at: now + ACCESS_LIFETIME };
        self.access.insert(token.clone(), access);
        token
    }

    fn issue(&mut self, prefix: &str) -> String {
        let secret = random(prefix);
        self.issued.push(secret.clone());
        secret
    }
}

/// `prefix` and 128 random bits.
pub(super) fn random(prefix: &str) -> String {
    format!("{prefix}{}", Uuid::new_v4().simple())
}
