//! A provider that rotates refresh tokens, as far as redeeming goes.

use token_broker::{refresh::provider::Rotation, types::TokenHash};

use crate::world::{UNIT, Unit};

/// A refresh token: the how many-th of which login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Token {
    pub(crate) login: u8,
    pub(crate) number: u8,
}

impl Token {
    pub(crate) const FIRST: Self = Self {
        login: 0,
        number: 0,
    };
    pub(crate) const OTHER_LOGIN: Self = Self {
        login: 1,
        number: 0,
    };

    pub(crate) fn hash(self) -> TokenHash {
        TokenHash::from_bytes([self.login * 16 + self.number; 32])
    }
}

/// What the provider answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Answer {
    Tokens(Token),
    Refused,
    Passing,
}

/// Of each login, the newest token, whether the login was revoked, and when the token before was redeemed first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Provider {
    newest: [u8; 2],
    revoked: [bool; 2],
    redeemed_at: [Unit; 2],
    /// The tokens that were redeemed, each as often as it was.
    redeemed: Vec<Token>,
}

impl Provider {
    pub(crate) fn times_redeemed(&self, token: Token) -> usize {
        self.redeemed
            .iter()
            .filter(|&&other| other == token)
            .count()
    }

    pub(crate) fn accepts(&self, token: Token, rotation: Rotation, now: Unit) -> bool {
        let login = usize::from(token.login);
        let in_grace = |grace: std::time::Duration| {
            token.number + 1 == self.newest[login]
                && UNIT * u32::from(now) < UNIT * u32::from(self.redeemed_at[login]) + grace
        };
        !self.revoked[login]
            && (token.number == self.newest[login]
                || match rotation {
                    Rotation::Strict => false,
                    Rotation::Grace(grace) => in_grace(grace),
                    Rotation::None => true,
                })
    }

    pub(crate) fn redeem(&mut self, token: Token, rotation: Rotation, now: Unit) -> Answer {
        let login = usize::from(token.login);
        if self.revoked[login] {
            return Answer::Refused;
        }
        if !self.accepts(token, rotation, now) {
            self.revoked[login] = true;
            self.note(token);
            return Answer::Refused;
        }
        self.note(token);
        if rotation == Rotation::None {
            return Answer::Tokens(token);
        }
        if token.number == self.newest[login] {
            self.newest[login] += 1;
            self.redeemed_at[login] = now;
        }
        Answer::Tokens(Token {
            number: self.newest[login],
            ..token
        })
    }

    fn note(&mut self, token: Token) {
        self.redeemed.push(token);
        self.redeemed.sort();
    }
}
