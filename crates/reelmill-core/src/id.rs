//! Identifiers. Core never invents one: the caller passes random ones in.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(Serialize, Deserialize, schemars::JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

uuid_id!(
    /// A request to convert one source.
    JobId
);
uuid_id!(
    /// One grant of a task to one worker; random, so that it can never collide
    /// after a restore or a failover set the epoch back.
    LeaseId
);
uuid_id!(
    /// A worker machine; stays the same over its restarts.
    WorkerId
);
uuid_id!(
    /// One run of a worker process.
    SessionId
);
uuid_id!(
    /// Bytes in blob storage.
    BlobId
);

/// A task of a job: the job, the generation of its plan, the number in the plan.
///
/// Written `<job>.<generation>.<number>`.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct TaskId {
    /// The job.
    pub job: JobId,
    /// Which plan of the job: 0 for the analysis before the first plan.
    pub generation: u32,
    /// Position within that plan.
    pub number: u32,
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.job, self.generation, self.number)
    }
}

impl From<TaskId> for String {
    fn from(id: TaskId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for TaskId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl FromStr for TaskId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || format!("'{text}' is not a task id");
        let mut parts = text.splitn(3, '.');
        let mut next = || parts.next().ok_or_else(bad);
        let job = next()?.parse().map_err(|_| bad())?;
        let generation = next()?.parse().map_err(|_| bad())?;
        let number = next()?.parse().map_err(|_| bad())?;
        Ok(Self { job, generation, number })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn task_ids_round_trip() {
        let id = TaskId { job: JobId(Uuid::from_u128(7)), generation: 2, number: 31 };
        assert_eq!(id.to_string().parse::<TaskId>().unwrap(), id);
        assert!("7.1.x".parse::<TaskId>().is_err());
    }
}
