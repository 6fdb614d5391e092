//! Who asks: a bearer token stands for a service account, and a client without one is the laboratory itself.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::error::ApiError;
use super::store::Store;

/// Tokens that are remembered at most; the oldest is forgotten for a new one, as if it had expired.
pub const TOKENS_MAX: usize = 1_000;
/// Where the token's node stands in a user's extra fields (Kubernetes 1.32 and newer).
pub const NODE_CLAIM: &str = "authentication.kubernetes.io/node-name";

/// A service account, by a token that is bound to a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Account {
    /// The account's namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The node of the pod that the token was made for.
    pub node: Option<String>,
}

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Identity {
    /// A client without a token: the laboratory and the person with its kubeconfig. Everything is allowed to it.
    #[default]
    Admin,
    /// A service account; roles say what is allowed to it.
    Account(Account),
}

impl Identity {
    /// The user's name.
    pub fn user(&self) -> String {
        match self {
            Identity::Admin => "kubernetes-admin".to_string(),
            Identity::Account(account) => {
                format!("system:serviceaccount:{}:{}", account.namespace, account.name)
            }
        }
    }

    /// The groups that it belongs to.
    pub fn groups(&self) -> Vec<String> {
        let own = match self {
            Identity::Admin => vec!["system:masters".to_string()],
            Identity::Account(account) => vec![
                "system:serviceaccounts".to_string(),
                format!("system:serviceaccounts:{}", account.namespace),
            ],
        };
        own.into_iter().chain(["system:authenticated".to_string()]).collect()
    }

    /// As admission policies and reviews see it.
    pub fn info(&self) -> Value {
        let mut info = json!({"username": self.user(), "groups": self.groups()});
        if let Identity::Account(Account { node: Some(node), .. }) = self {
            info["extra"] = json!({NODE_CLAIM: [node]});
        }
        info
    }
}

/// The tokens that were issued, in their order.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    issued: u64,
    accounts: BTreeMap<u64, Account>,
}

const PREFIX: &str = "tandem-token-";

impl Store {
    /// A token for a service account, as the kubelet asks for one when it mounts it into a pod.
    pub fn issue_token(&mut self, account: Account) -> String {
        let tokens = &mut self.tokens;
        tokens.issued += 1;
        tokens.accounts.insert(tokens.issued, account);
        if tokens.accounts.len() > TOKENS_MAX {
            tokens.accounts.pop_first();
        }
        format!("{PREFIX}{}", tokens.issued)
    }

    /// Answers a request for somebody: what it changes is looked at by admission policies.
    pub(super) fn asked_by<T>(&mut self, who: &Identity, answer: impl FnOnce(&mut Store) -> T) -> T {
        self.asker = who.clone();
        let answer = answer(self);
        self.asker = Identity::Admin;
        answer
    }

    /// Who asks now; outside of a request it is the laboratory.
    pub(super) fn asker(&self) -> &Identity {
        &self.asker
    }

    /// Who sends this `Authorization` header; it is empty when there is none.
    ///
    /// # Errors
    /// 401 for a token that this server did not issue.
    pub fn identity(&self, authorization: &str) -> Result<Identity, ApiError> {
        if authorization.is_empty() {
            return Ok(Identity::Admin);
        }
        let token = authorization.strip_prefix("Bearer ").and_then(|token| token.trim().strip_prefix(PREFIX));
        let account = token.and_then(|number| self.tokens.accounts.get(&number.parse().ok()?));
        account.cloned().map(Identity::Account).ok_or_else(ApiError::unauthorized)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(node: &str) -> Account {
        Account { namespace: "ns".into(), name: "a".into(), node: Some(node.into()) }
    }

    #[test]
    fn a_token_stands_for_its_account_and_a_made_up_one_for_nobody() {
        let mut store = Store::default();
        let token = store.issue_token(account("n1"));
        let who = store.identity(&format!("Bearer {token}")).unwrap();
        assert_eq!(who.user(), "system:serviceaccount:ns:a");
        assert_eq!(who.info()["extra"][NODE_CLAIM], json!(["n1"]));
        assert_eq!(store.identity(""), Ok(Identity::Admin));
        for wrong in ["Bearer tandem-token-2", "Bearer x", "Basic dTpw", "Bearer "] {
            assert_eq!(store.identity(wrong).map_err(|refused| refused.code), Err(401), "{wrong}");
        }
    }

    #[test]
    fn the_oldest_token_is_forgotten_at_the_bound() {
        let mut store = Store::default();
        let tokens: Vec<_> = (0..=TOKENS_MAX).map(|_| store.issue_token(account("n"))).collect();
        assert!(store.identity(&format!("Bearer {}", tokens[0])).is_err());
        assert!(store.identity(&format!("Bearer {}", tokens[1])).is_ok());
    }
}
