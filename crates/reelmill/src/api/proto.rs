//! The messages of the gRPC services, and how our own types travel in them.

use crate::task_source::Standing;
use reelmill_core::id::LeaseId;
use reelmill_core::lease::LeaseProof;
use reelmill_core::load::Load;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tonic::Status;

/// Package `reelmill.v1`, as generated.
#[expect(
    unreachable_pub,
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    reason = "generated code"
)]
pub(crate) mod v1 {
    tonic::include_proto!("reelmill.v1");
}

/// Package `replication`, as generated.
#[expect(
    unreachable_pub,
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    reason = "generated code"
)]
pub(crate) mod replication {
    tonic::include_proto!("replication");
}

/// Largest message either side takes: a plan of a long film with all its
/// timestamps has some megabytes.
pub(crate) const MAX_MESSAGE: usize = 64 << 20;

/// The format of payloads that this version writes and understands.
const FORMAT: u32 = 1;

/// Largest payload: what a message carries beside it is small.
const MAX_PAYLOAD: usize = MAX_MESSAGE - (64 << 10);

/// A value, packed.
pub(crate) fn pack(value: &impl Serialize) -> Result<Option<v1::Payload>, Status> {
    let json = serde_json::to_vec(value)
        .map_err(|e| Status::internal(format!("cannot write a payload: {e}")))?;
    if json.len() > MAX_PAYLOAD {
        let message = format!("a payload has {} bytes, more than {MAX_PAYLOAD}", json.len());
        return Err(Status::out_of_range(message));
    }
    Ok(Some(v1::Payload { format: FORMAT, json }))
}

/// The value in a payload; `what` names it in errors.
pub(crate) fn unpack<T: DeserializeOwned>(
    payload: Option<v1::Payload>,
    what: &str,
) -> Result<T, Status> {
    let payload = payload.ok_or_else(|| Status::invalid_argument(format!("{what} is missing")))?;
    if payload.format != FORMAT {
        let message = format!(
            "{what} has format {}, but version {} of reelmill knows {FORMAT}",
            payload.format,
            env!("CARGO_PKG_VERSION")
        );
        return Err(Status::failed_precondition(message));
    }
    serde_json::from_slice(&payload.json)
        .map_err(|e| Status::invalid_argument(format!("{what} is malformed: {e}")))
}

/// An id in its text form; `what` names it in errors.
pub(crate) fn id<T: std::str::FromStr>(text: &str, what: &str) -> Result<T, Status> {
    text.parse().map_err(|_| Status::invalid_argument(format!("'{text}' is not a {what}")))
}

/// What a machine is at, packed.
pub(crate) fn pack_load(load: Load) -> v1::Load {
    let Load { cpu, io_wait, network, memory } = load;
    v1::Load { cpu, io_wait, network, memory }
}

/// What a machine is at, unpacked.
pub(crate) fn unpack_load(load: v1::Load) -> Load {
    let v1::Load { cpu, io_wait, network, memory } = load;
    Load { cpu, io_wait, network, memory }
}

/// A lease's proof, packed.
pub(crate) fn pack_proof(proof: LeaseProof) -> Option<v1::Lease> {
    Some(v1::Lease { lease_id: proof.lease.to_string(), epoch: proof.epoch })
}

/// The proof in a message.
pub(crate) fn proof(lease: Option<v1::Lease>) -> Result<LeaseProof, Status> {
    let lease = lease.ok_or_else(|| Status::invalid_argument("the lease is missing"))?;
    Ok(LeaseProof { lease: id::<LeaseId>(&lease.lease_id, "lease id")?, epoch: lease.epoch })
}

/// A standing, packed.
pub(crate) fn pack_standing(standing: Standing) -> i32 {
    let packed = match standing {
        Standing::Held => v1::Standing::Held,
        Standing::Lost => v1::Standing::Lost,
    };
    packed.into()
}

/// The standing in a message.
pub(crate) fn standing(packed: i32) -> Result<Standing, Status> {
    match v1::Standing::try_from(packed) {
        Ok(v1::Standing::Held) => Ok(Standing::Held),
        Ok(v1::Standing::Lost) => Ok(Standing::Lost),
        Ok(v1::Standing::Unspecified) | Err(_) => {
            Err(Status::unknown(format!("{packed} is no standing that this version knows")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_of_another_format_is_told_apart_from_a_malformed_one() {
        let later = v1::Payload { format: FORMAT + 1, json: b"1".to_vec() };
        let status = unpack::<u32>(Some(later), "hello").unwrap_err();
        assert_eq!(status.code(), tonic::Code::FailedPrecondition);
        let broken = v1::Payload { format: FORMAT, json: b"{".to_vec() };
        let status = unpack::<u32>(Some(broken), "hello").unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        assert_eq!(unpack::<u32>(pack(&7u32).unwrap(), "hello").unwrap(), 7);
    }

    #[test]
    fn standings_round_trip_and_others_are_refused() {
        for value in [Standing::Held, Standing::Lost] {
            assert_eq!(standing(pack_standing(value)).unwrap(), value);
        }
        assert!(standing(0).is_err());
        assert!(standing(77).is_err());
    }
}
