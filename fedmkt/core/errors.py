"""Every named error of fedmkt, in one tree.

An error carries a stable `code`, named fields and one sentence that ends in what to do next.
Security: fields hold names, counts, rules and row numbers only, never a row, a key or a
customer's identifier; what crosses a node's border is the code alone.
"""

from typing import ClassVar


class FedmktError(Exception):
    """Root of the tree: `code` is stable, `fields` are the named facts of the message."""

    code: ClassVar[str] = "error"
    template: ClassVar[str] = "Something failed: {problem}."
    exit_code: ClassVar[int] = 1

    def __init__(self, **fields: object) -> None:
        self.fields = fields
        super().__init__(self.template.format(**fields))

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.fields)


def _rebuild(kind: type[FedmktError], fields: dict[str, object]) -> FedmktError:
    return kind(**fields)


class UserError(FedmktError):
    """The user's mistake: the command ends with exit code 2."""

    code = "user_error"
    exit_code = 2


class SettingInvalid(UserError):
    """A setting, option or file entry has a value that cannot be used."""

    code = "setting_invalid"
    template = "{setting} cannot be used: {problem}. Correct it and run the command again."


class FileMissing(UserError):
    """A named file or folder is not there."""

    code = "file_missing"
    template = "There is no {what} at {path}. {advice}"


class KeyLocked(UserError):
    """An encrypted key file was not opened."""

    code = "key_locked"
    template = (
        "{path} was not opened: {problem}. Set FEDMKT_PASSPHRASE_FILE to a file that holds the "
        "passphrase (mode 0600), or FEDMKT_PASSPHRASE, or run the command in a terminal."
    )


class ExtraMissing(UserError):
    """A library of an optional extra is not installed."""

    code = "extra_missing"
    template = (
        "{purpose} need {library}, which is not installed. Install it with: "
        "pip install 'fedmkt[{extra}]'"
    )


class OutputUnwritable(UserError):
    """A result could not be written; what stood there before is untouched."""

    code = "output_unwritable"
    template = (
        "{path} could not be written ({problem}); what stood there before is untouched. "
        "Free space or choose another folder, then run again."
    )


class RunUnknown(UserError):
    """No ledger that was asked knows a run of this name."""

    code = "run_unknown"
    template = "No node here knows a run called {run}. Known runs: {known}."


class ResultUnknown(UserError):
    """A node keeps no result of that kind from that run."""

    code = "result_unknown"
    template = (
        "No node that was asked keeps a {what} of run {run}. Name the run that made it, and the "
        "member whose node keeps it.{known}"
    )


class CustomerUnknown(UserError):
    """A node's table holds no customer of that key."""

    code = "customer_unknown"
    template = (
        "{member} has no customer of that key in dataset {dataset}. Give the key as it stands in "
        "its table."
    )


class RunFinished(UserError):
    """An order was handed in whose run is over."""

    code = "run_finished"
    template = (
        "Run {run} is finished; what came of it lies in {path}. Sign a new order for another run."
    )


class FileUnusable(FedmktError):
    """The system would not read or write a file or folder; the exit code is 2 if the user gave it.

    For what no other error names; it is raised by the command line alone.
    """

    code = "io_error"
    template = (
        "A file or folder could not be used ({path}): {problem}. Check path, rights and free "
        "space, then run again."
    )


# --- data -------------------------------------------------------------------------------------


class DataError(UserError):
    """A partner's own table cannot be used as it is."""

    code = "data_error"


class SourceUnreadable(DataError):
    """The source cannot be opened or parsed."""

    code = "source_unreadable"
    template = "Source {source} cannot be read as {kind}: {problem}. Mend it and run again."


class SourceVanished(DataError):
    """The source disappeared or changed while it was being read."""

    code = "source_vanished"
    template = (
        "Source {source} disappeared or changed while it was read. Put it back and run again."
    )


class ColumnMissing(DataError):
    """The table lacks declared columns; those it has are told by number, not by name."""

    code = "column_missing"
    template = (
        "Dataset {dataset} lacks {column}. Columns it has: {width}; of the wanted ones: {present}. "
        "{advice}"
    )


class ColumnKindWrong(DataError):
    """A column cannot be read as its declared kind."""

    code = "column_kind_wrong"
    template = (
        "Column {column} of dataset {dataset} is declared {declared} but holds {found}. "
        "Correct the source or the schema."
    )


class TableEmpty(DataError):
    """The table has no usable row."""

    code = "table_empty"
    template = "Dataset {dataset} has no usable rows. Check the source and the mapping."


class OneClassOnly(DataError):
    """The target has one class only, so nothing can be learnt from it."""

    code = "one_class_only"
    template = (
        "Target {target} of dataset {dataset} has one class only. "
        "Use a table with both classes or another target."
    )


class SchemaViolated(DataError):
    """Rows break the declared schema; the report names rules and row numbers, never values."""

    code = "schema_violated"
    template = (
        "Dataset {dataset} breaks its declared schema:\n{report}\nMend these rows and run again."
    )


class QualityTooLow(DataError):
    """The quality scorecard is under the floor the contract sets."""

    code = "quality_too_low"
    template = (
        "Dataset {dataset} passes {share:.1%} of its quality checks; {floor:.1%} are asked "
        "for. Failing: {failing}. Mend what fails and run again."
    )


class IdentifiersBlank(DataError):
    """No customer has a usable identifier under the keys of an alignment."""

    code = "identifiers_blank"
    template = (
        "Dataset {dataset} has no usable value in its identifier columns {columns}. "
        "Fill them, or name other key columns in the contract."
    )


class ConsentUnusable(DataError):
    """The consent table lacks columns, or holds entries that cannot be read."""

    code = "consent_unusable"
    template = (
        "The consent table of dataset {dataset} cannot be used: {problem}. It needs the columns "
        "key, purpose, status (granted or withdrawn) and time (ISO 8601)."
    )


class ColumnConstant(DataError):
    """A feature has one bin only among the aligned customers, so nothing can be learnt from it."""

    code = "column_constant"
    template = (
        "Column {column} of dataset {dataset} has the same bin for all aligned customers. {advice}"
    )


# --- contract ---------------------------------------------------------------------------------


class ContractError(UserError):
    """The collaboration file or its signatures cannot be used."""

    code = "contract_error"


class ContractInvalid(ContractError):
    """The collaboration file breaks its own rules."""

    code = "contract_invalid"
    template = (
        "The contract {contract} is not valid: {problem}. Correct it and have it signed again."
    )


class ContractUnsigned(ContractError):
    """A member's signature is missing or does not fit."""

    code = "contract_unsigned"
    template = "The contract {contract} lacks a valid signature of {member}. Have {member} sign it."


class CardInvalid(ContractError):
    """A member's card cannot be used."""

    code = "card_invalid"
    template = "The card {card} cannot be used: {problem}."


class InvitationInvalid(ContractError):
    """An invitation cannot be used at this node."""

    code = "invitation_invalid"
    template = "The invitation cannot be used: {problem}. Ask the coordinator for a new one."


class RevocationInvalid(ContractError):
    """A revocation cannot be believed."""

    code = "revocation_invalid"
    template = (
        "The revocation {revocation} cannot be used: {problem}. Ask whoever sent it for another, "
        "or take the file away."
    )


class JobInvalid(ContractError):
    """A job file breaks its schema."""

    code = "job_invalid"
    template = "Job {job} is not valid: {problem}. Correct the job file and run again."


# --- refusals: the node says no before data are touched ---------------------------------------


class Refusal(FedmktError):
    """A node's own decision not to take part; the requester learns the code and no more."""

    code = "refused"
    exit_code = 3
    template = "Refused: {problem}."


class ContractExpired(Refusal):
    """The contract is no longer in force."""

    code = "contract_expired"
    template = "The contract ended on {expires}. Sign a new one."


class MemberRevoked(Refusal):
    """The key that the contract gives a member was revoked."""

    code = "member_revoked"
    template = (
        "The key of {member} was revoked by {by} on {at}. Sign a contract without {member}, or "
        "with its new key."
    )


class DatasetUnknown(Refusal):
    """The contract names no such dataset at this member."""

    code = "dataset_unknown"
    template = "The contract gives {member} no dataset {dataset}. Name one that it declares."


class NotAParty(Refusal):
    """A job of other members; this node has no part in it."""

    code = "not_a_party"
    template = "Job {job} is for other members. Nothing is to be done here."


class PurposeNotAllowed(Refusal):
    """The contract does not allow the purpose for this dataset."""

    code = "purpose_not_allowed"
    template = "Dataset {dataset} may not be used for {purpose}. The contract allows: {allowed}."


class RequesterNotAllowed(Refusal):
    """The contract does not let this requester ask for this purpose."""

    code = "requester_not_allowed"
    template = "{requester} may not request {purpose} on dataset {dataset}. Ask a member who may."


class ModeNotAllowed(Refusal):
    """The contract does not allow the job's protection mode."""

    code = "mode_not_allowed"
    template = "Dataset {dataset} may not be used in mode {mode}. The contract allows: {allowed}."


class DeltaTooLarge(Refusal):
    """The job states its epsilon at a larger delta than the contract's caps."""

    code = "delta_too_large"
    template = "The job states epsilon at delta {asked:g}; caps of {dataset} hold at {allowed:g}."


class ColumnNotAllowed(Refusal):
    """The job uses a column its schema does not let it use."""

    code = "column_not_allowed"
    template = "Column {column} of dataset {dataset} may not be used as {use}. {advice}"


class AudienceTooSmall(Refusal):
    """The table holds fewer customers than the contract's minimum audience."""

    code = "audience_too_small"
    template = "Dataset {dataset} has fewer than the {minimum} customers the contract asks for."


class TooFewMembers(Refusal):
    """A sum would stand over fewer members than allowed."""

    code = "too_few_members"
    template = (
        "A sum needs at least {needed} members, {present} are there. Wait until more are back."
    )


class BudgetExceeded(Refusal):
    """A privacy cap would be passed."""

    code = "budget_exceeded"
    template = (
        "Cap {cap} of dataset {dataset} would be passed: purpose {purpose}, asked {requested:.4g}, "
        "left {remaining:.4g} of epsilon {epsilon:.4g}. Spent by: {spent_by}. "
        "Ask for less, or wait if it is the period's cap."
    )


class UsesExceeded(Refusal):
    """The number of uses a cap allows is used up."""

    code = "uses_exceeded"
    template = (
        "Cap {cap} of dataset {dataset} allows {allowed} uses a {window}; {used} are used up by: "
        "{spent_by}. Wait until the window has passed, or ask for another cap."
    )


class RunsTooOften(Refusal):
    """A requester began as many runs within the last hour as the node allows."""

    code = "runs_too_often"
    template = (
        "{requester} began {allowed} runs at this node within the last hour, as many as it allows. "
        "Ask again in {minutes} minutes."
    )


class UnprotectedNotAllowed(Refusal):
    """A release without noise was asked of a dataset whose terms forbid it."""

    code = "unprotected_not_allowed"
    template = "Dataset {dataset} may not be used without noise. Set an epsilon in the job."


class VerticalNotAllowed(Refusal):
    """The contract gives the dataset no terms for work over shared customers."""

    code = "vertical_not_allowed"
    template = (
        "Dataset {dataset} may not be used over shared customers in this way: {problem}. "
        "Agree on it in the contract."
    )


class ExactScoresExceeded(Refusal):
    """A cap on what is shown exactly, customer by customer, would be passed."""

    code = "exact_scores_exceeded"
    template = (
        "Cap {cap} of dataset {dataset} allows {allowed} for life; {used} are used up by: "
        "{spent_by}; this job asks for {asked}. Ask for fewer rounds, or agree on another cap."
    )


class ExactScoresNotAllowed(Refusal):
    """The contract caps nothing exact for this dataset, so nothing exact may leave."""

    code = "exact_scores_not_allowed"
    template = (
        "The contract states no cap on {what} of dataset {dataset}, so there may be none. "
        "Agree on {setting}."
    )


class OverlapTooSmall(Refusal):
    """The overlap is, as far as its noise tells, smaller than the contract's minimum."""

    code = "overlap_too_small"
    template = (
        "The overlap of dataset {dataset} is, as far as its noise tells, under the {minimum} "
        "customers the contract asks for. Align more customers, or agree on another minimum."
    )


class AlignmentUnknown(Refusal):
    """This node holds no finished alignment of that name for these members and this purpose."""

    code = "alignment_unknown"
    template = (
        "This node holds no alignment {alignment} for {problem}. Run an alignment job first and "
        "name its run."
    )


class TableChanged(Refusal):
    """Aligned customers were changed or removed since the alignment."""

    code = "table_changed"
    template = (
        "Aligned customers of dataset {dataset} changed since alignment {alignment}. Align again."
    )


class ConsentWithdrawn(Refusal):
    """An aligned customer's consent no longer covers the purpose."""

    code = "consent_withdrawn"
    template = (
        "Since alignment {alignment}, consent to {purpose} was withdrawn by aligned customers of "
        "dataset {dataset}. Align again, which leaves them out."
    )


class ModelUnknown(Refusal):
    """This node keeps no part of that model."""

    code = "model_unknown"
    template = (
        "This node keeps no part of a model from run {run} for {problem}. Train it first, with "
        "the same members."
    )


class PositivesTooFew(Refusal):
    """The overlap has, as far as the noise tells, no customers with a positive label."""

    code = "positives_too_few"
    template = (
        "Target {target} of dataset {dataset} is, as far as the noise tells, never or always "
        "positive in the overlap. Check target_positive, or align more customers."
    )


class SeedTooSmall(Refusal):
    """An expansion would be learnt from fewer aligned customers than allowed."""

    code = "seed_too_small"
    template = (
        "The seed of dataset {dataset} is, as far as its noise tells, under {minimum} customers. "
        "Align more customers first."
    )


class ReproducibleNoiseRefused(Refusal):
    """A deployed node was given a reproducible source of noise."""

    code = "reproducible_noise_refused"
    template = (
        "A deployed node draws its noise from the operating system; remove the seed from {where}."
    )


class ClaimedEpsilonWrong(Refusal):
    """The job's releases cost more than the epsilon it states."""

    code = "claimed_epsilon_wrong"
    template = (
        "The job states epsilon {claimed:.4g} but its releases cost {actual:.4g}. Calibrate "
        "it again."
    )


# --- protocol ---------------------------------------------------------------------------------


class ProtocolError(FedmktError):
    """A message breaks the protocol; nothing further is revealed in this run."""

    code = "protocol_error"
    template = "The protocol was broken: {problem}. The run stops; nothing further was revealed."


class MessageInvalid(ProtocolError):
    """A message does not parse or is not of the expected kind."""

    code = "message_invalid"
    template = "A {kind} message is not valid: {problem}. The run stops."


class MessageTooLarge(ProtocolError):
    """A message has more bytes, items, depth or text than any honest one needs."""

    code = "message_too_large"
    template = (
        "A {kind} message passes the limit of {limit} {what}. It was not read; the run stops."
    )


class SchemaVersionDiffers(ProtocolError):
    """A message is written in another version of the schema than this node's."""

    code = "schema_version_differs"
    template = (
        "A {kind} message is not of schema version {version}. Let all members install the same "
        "version of fedmkt; the run stops."
    )


class SignatureInvalid(ProtocolError):
    """A signature does not fit its message and the directory's key."""

    code = "signature_invalid"
    template = (
        "The signature of {member} on {what} does not fit the key in the contract. The run stops."
    )


class RequestConflict(ProtocolError):
    """The same step was asked for twice with different contents."""

    code = "request_conflict"
    template = "Step {step} of run {run} was already answered for another request. Start a new run."


class RunNotOpen(ProtocolError):
    """A step of a run that this node never opened, or that was closed."""

    code = "run_not_open"
    template = "Run {run} is not open at this node. Start a new run."


class StepOutOfOrder(ProtocolError):
    """A step came before the one it needs."""

    code = "step_out_of_order"
    template = "Step {step} came out of order in run {run}. Start a new run."


class SurvivorsInvalid(ProtocolError):
    """The list of survivors is inconsistent or lacks signatures."""

    code = "survivors_invalid"
    template = (
        "The survivors of sum {sum_index} cannot be accepted: {problem}. Nothing was unmasked."
    )


class AlreadyOpened(ProtocolError):
    """A sum was already unmasked, or its mask already used."""

    code = "already_opened"
    template = "Sum {sum_index} was already opened once; it is never opened again."


class ShareInvalid(ProtocolError):
    """A secret share is missing, altered or too few are there."""

    code = "share_invalid"
    template = "The shares of {member} for sum {sum_index} cannot be used: {problem}."


class SealBroken(ProtocolError):
    """A sealed value was altered or belongs elsewhere."""

    code = "seal_broken"
    template = "A sealed {what} could not be opened: it was altered or belongs elsewhere."


class RangeExceeded(ProtocolError):
    """A value does not fit the fixed-point range, so a sum could wrap."""

    code = "range_exceeded"
    template = (
        "A sum could pass the fixed-point range ({problem}). Lower the scale or the row bound."
    )


class PointInvalid(ProtocolError):
    """A group element is malformed, not canonical, or one of the few that hide nothing."""

    code = "point_invalid"
    template = "A group element from {member} cannot be used: {problem}. The run stops."


class SetSizeWrong(ProtocolError):
    """A member's set is not of the size it signed."""

    code = "set_size_wrong"
    template = (
        "The set of {member} holds {found} elements where it signed {declared}. The run stops."
    )


class SetReplayed(ProtocolError):
    """A set repeats elements, or is another member's or another run's."""

    code = "set_replayed"
    template = "The set of {member} cannot be its own of this run: {problem}. The run stops."


class AnsweredTwice(ProtocolError):
    """Two different answers came in one member's name."""

    code = "answered_twice"
    template = (
        "{member} gave two different answers to step {step}. The run stops; see whether two nodes "
        "run under its name."
    )


class TotalsImplausible(ProtocolError):
    """Returned sums are not what honest residuals and honest noise can give."""

    code = "totals_implausible"
    template = (
        "The sums returned in round {round} are not such as honest labels and noise give: "
        "{problem}. Nothing was computed from them; the run stops."
    )


class AlignmentMismatch(ProtocolError):
    """Members hold different alignments under one name, or one that does not fit the sets."""

    code = "alignment_mismatch"
    template = "Alignment {alignment} does not fit: {problem}. Align again."


# --- exchange ---------------------------------------------------------------------------------


class ExchangeError(FedmktError):
    """Messages to the partners' nodes did not come back as needed."""

    code = "exchange_error"


class QuorumLost(ExchangeError):
    """Fewer nodes answered before the deadline than the step needs."""

    code = "quorum_lost"
    template = (
        "Step {step} got {answered} of {needed} needed answers within {deadline_s:g} s; "
        "missing: {missing}. "
        "Start those nodes and resume the run."
    )


class LinkUnreachable(ExchangeError):
    """The SuperLink does not answer, or refused what the operator asked."""

    code = "link_unreachable"
    template = (
        "The SuperLink at {address} does not answer ({problem}). Look at fedmkt up --status, or "
        "start it."
    )


class ClockSkewed(ExchangeError):
    """The node's clock is so far from the coordinator's that none of its messages is taken."""

    code = "clock_skewed"
    template = (
        "This machine's clock is {difference} the coordinator's, which takes no message from it. "
        "Set the clock (NTP), then start the node again."
    )


class BundleNotAllowed(ExchangeError):
    """A run's bundle is not one that this node runs."""

    code = "bundle_not_allowed"
    template = "The bundle {bundle} is not among those this node runs. Compare the versions."


class RunCancelled(ExchangeError):
    """The operator cancelled the run; nodes were told and gave back what was not sent."""

    code = "run_cancelled"
    template = "Run {run} was cancelled. What was sent stays spent; sign a new order to try again."


class DeploymentFailed(FedmktError):
    """A process of a deployment did not come up, or is not there."""

    code = "deployment_failed"
    template = "{process} is not up: {problem}. {advice}"


class NodesMissing(ExchangeError):
    """Not all members' nodes are connected."""

    code = "nodes_missing"
    template = "{present} of {needed} nodes are connected after {deadline_s:g} s. Start the others."


class RunRefused(ExchangeError):
    """A member's node refused the run; only the rule's code is known here."""

    code = "run_refused"
    exit_code = 3
    template = (
        "{member} refused job {job} under rule {rule}. The reason stands in its own audit log."
    )


class NodeFailed(ExchangeError):
    """A member's node answered with an error."""

    code = "node_failed"
    template = "The node of {member} failed in step {step} with {error}. See that node's own log."


class TrainingDiverged(ExchangeError):
    """The model's parameters are no longer finite."""

    code = "training_diverged"
    template = (
        "Training left the finite numbers in round {round}. Take smaller steps (step, "
        "learning_rate or server.rate), or raise an additive model's ridge."
    )


# --- privacy ----------------------------------------------------------------------------------


class PrivacyError(UserError):
    """Privacy parameters that cannot be used."""

    code = "privacy_error"


class EpsilonInvalid(PrivacyError):
    """Epsilon or delta outside its range."""

    code = "epsilon_invalid"
    template = "{name} = {value} cannot be used: it must be {rule}."


class EventUnknown(PrivacyError):
    """An accountant was handed an event it cannot price."""

    code = "event_unknown"
    template = "No accountant here prices events of kind {kind}. Use one of: {known}."


# --- ledger and audit log ---------------------------------------------------------------------


class LedgerError(FedmktError):
    """The ledger cannot do what was asked; nothing was released."""

    code = "ledger_error"


class ReservationUnknown(LedgerError):
    """There is no such reservation or release."""

    code = "reservation_unknown"
    template = "The ledger holds no reservation for run {run}, release {release}. Reserve first."


class ReservationClosed(LedgerError):
    """The reservation was given back, so nothing may be sent on it."""

    code = "reservation_closed"
    template = "Release {release} of run {run} was given back; it may not be sent. Start a new run."


class CapConflict(LedgerError):
    """The contract states a cap other than the one its account was opened with."""

    code = "cap_conflict"
    template = (
        "Account {account} was opened with another cap than the contract now states ({problem}). "
        "Caps over the same people stay as they were opened."
    )


class StoreRolledBack(LedgerError):
    """The store lacks what the audit log says was released: an old copy was put back."""

    code = "store_rolled_back"
    template = (
        "The ledger at {path} lacks release {release} of run {run}, which the audit log records. "
        "An old copy was restored; put back the latest one, or the customers' budget is overspent."
    )


class StorageFailed(LedgerError):
    """The store could not make a change durable."""

    code = "storage_failed"
    template = (
        "The store at {path} could not be written ({problem}); nothing left this node. Free "
        "space, then retry."
    )


class AuditError(FedmktError):
    """The audit log is not what it should be."""

    code = "audit_error"


class AuditBroken(AuditError):
    """A record was altered, reordered, dropped or not signed by the key."""

    code = "audit_broken"
    template = "Record {record} of {path} is broken: {problem}. Keep the file and ask why."


class AuditCut(AuditError):
    """The log does not reach, or forks from, a head seen elsewhere."""

    code = "audit_cut"
    template = (
        "{path} does not hold the head seen elsewhere (record {record}): its tail was cut, "
        "forked or restored."
    )


# --- simulated collaborations: who holds what, and who takes part -------------------------------


class PartitionImpossible(UserError):
    """A table cannot be divided among so many partners in the way asked for."""

    code = "partition_impossible"
    template = "The table cannot be divided so: {problem}. {advice}"


class NobodyLeft(FedmktError):
    """After drop-outs fewer partners are left in a simulated round than its quorum."""

    code = "round_without_quorum"
    template = (
        "Round {round}: {left} of {asked} partners are left, {quorum} are needed. "
        "Lower the drop-out or the quorum, or ask a larger share of the partners."
    )


# --- robust sums ------------------------------------------------------------------------------


class UpdatesTooFew(ExchangeError):
    """Fewer usable updates than a robust rule needs for the faulty partners it is to bear."""

    code = "updates_too_few"
    template = (
        "{rule} with {faulty} faulty partners needs {needed} usable updates; there are {usable}. "
        "Assume fewer faulty partners, or let more partners take part."
    )


# --- scenarios --------------------------------------------------------------------------------


class ScenarioError(UserError):
    """A scenario cannot be simulated as it is."""

    code = "scenario_error"


class ScenarioInvalid(ScenarioError):
    """The scenario's file is no scenario."""

    code = "scenario_invalid"
    template = (
        "Scenario {source}: {problem}. `fedmkt simulate --explain KEY` says what a key takes."
    )


class FrameInvalid(ScenarioInvalid):
    """A frame given to a simulation is no table of customers."""

    code = "frame_invalid"
    template = "Frames {source}: {problem}. Correct them and call it again."


class ScenarioPartMissing(ScenarioError):
    """The scenario asks for something that this version cannot simulate."""

    code = "scenario_part_missing"
    template = "{key} = {value} cannot be simulated; there is: {known}. Change the scenario."


class ResultsOfAnother(ScenarioError):
    """The results folder holds another scenario's results."""

    code = "results_of_another"
    template = (
        "{path} holds the results of another scenario: {difference}. Name another folder with "
        "--out; nothing there was changed."
    )


class ResultsInUse(ScenarioError):
    """Another process writes into the results folder."""

    code = "results_in_use"
    template = "{path} is being written by another simulation. Wait for it, or name another --out."


class SweepTooLong(ScenarioError):
    """A long sweep was not agreed to."""

    code = "sweep_too_long"
    template = (
        "{trials} trials would take about {hours} hours. Run it with --yes, or sweep over less; "
        "what is finished is kept."
    )


class WorkerLost(ScenarioError):
    """A worker process ended before its trial did."""

    code = "worker_lost"
    exit_code = 1
    template = (
        "A worker process of the sweep was ended from outside, perhaps for lack of memory. "
        "Finished trials are kept; run it again, with fewer workers if memory was short."
    )
