package analysis

import (
	"fmt"

	"orchestrator/daemon/topology"
)

// rule is a row of the table: what a code means, of which servers it can be said, and whether it holds.
type rule struct {
	code Code
	of   role
	// byReplicas is for trouble of the replicas, at a source that answers: it is also muted when all of them are in
	// downtime.
	byReplicas bool
	// says returns "" when the rule does not hold.
	says func(*view) (says string, evidence []string)
	// explain is for people: when the code is reported, and what to do, or what is done about it.
	explain string
}

const anyone = primary | intermediate | former | leaf

// rules is the table of all findings about servers, in the order of the documentation. All that hold are reported.
var rules = []rule{
	{DeadPrimary, primary, false, when(dead, allReachable, deadSays),
		"The primary does not answer, and its replicas can't reach it: at least one, asked after the primary fell " +
			"silent, has tried and failed. No replica still receives from it, and all replicas could be asked. If " +
			"the primary was silent rather than refusing connections, it has been silent for the configured time, " +
			"and a majority of its replicas can't reach it. A failover is needed."},
	{DeadPrimaryAndSomeReplicas, primary, false, when(dead, someGone, deadSays),
		"As DeadPrimary, but some of the replicas do not answer either. What those received is unknown. A failover " +
			"to one of the others is needed."},
	{DeadPrimaryAndReplicas, primary, false, when(deserted, always, desertedSays),
		"Neither the primary nor any of its replicas answers. There is no witness, and the cause may be our own " +
			"network, so nothing is done. Check from another host."},
	{DeadPrimaryWithoutReplicas, primary, false, when(alone, always, aloneSays),
		"A server that has no replicas, and had none as far as is known, does not answer. There is no server to " +
			"promote."},
	{UnreachablePrimary, primary, false, unreachableSays(false),
		"We can't reach the primary, but it is not proved dead. The evidence says what is missing: a replica still " +
			"receives from it, or was not asked since, or no replica can tell, or too few of them can't reach it, or " +
			"the primary has not been silent for long enough, or this daemon can't resolve its name. All servers are " +
			"asked again at once, and replicas that only seem connected are made to reconnect."},
	{UnreachablePrimaryWithLaggingReplicas, primary, false, unreachableSays(true),
		"As UnreachablePrimary, and all replicas that still receive are further behind than the threshold, or " +
			"delayed by configuration."},
	{PrimaryRefusesConnections, primary, false, refusesSays,
		"The primary is alive and does not accept our connection: too many connections, access denied, a TLS error. " +
			"That is never a reason for a failover. Fix the account or the certificate, or end what holds the " +
			"connections."},
	{PrimaryStalled, primary, false, stalledSays,
		"The primary answers, and commits hang: its disk is full, or it waits for acknowledgements of " +
			"semi-synchronous replicas, or a session holds a lock of the whole server, or the cause is unknown. A " +
			"failover would not be safe, because the server is alive. Free disk space, check the replicas, or end " +
			"the session that holds the lock."},
	{SemiSyncShort, anyone, false, semiSyncShortSays,
		"A source waits for more acknowledgements of semi-synchronous replicas than there are replicas that " +
			"acknowledge. Its next commit hangs, until its time-out or until a replica comes back. Bring back a " +
			"replica that acknowledges, or lower the number that a commit waits for."},
	{SemiSyncOff, primary, false, semiSyncOffSays,
		"The primary is set up to wait for acknowledgements of semi-synchronous replicas and does not wait: it has " +
			"fallen back to asynchronous replication after a time-out, or its source side is off although it " +
			"acknowledged as a replica itself. If it dies now, what it committed last may be lost. Bring back the " +
			"replicas that acknowledge. A failover leaves the source side off while too few replicas acknowledge, " +
			"and switches it on when enough do."},
	{AllPrimaryReplicasNotReplicating, primary, true, idleSays(func(n, up int) bool { return n > 1 && up == n }),
		"The primary answers, and so do all its replicas, two or more, but none replicates. If the primary died now, " +
			"everything written since then would be lost."},
	{AllPrimaryReplicasNotReplicatingOrDead, primary, true, idleSays(func(n, up int) bool { return n > 1 && up < n }),
		"The primary answers. Some or all of its replicas, of two or more, do not answer, and none of the others " +
			"replicates."},
	{PrimarySingleReplicaNotReplicating, primary, true, idleSays(func(n, up int) bool { return n == 1 && up == 1 }),
		"The primary answers. Its only replica answers too, but does not replicate."},
	{PrimarySingleReplicaDead, primary, true, idleSays(func(n, up int) bool { return n == 1 && up == 0 }),
		"The primary answers, and its only replica does not: there is no server to fail over to."},
	{PrimaryNotWritable, primary, false, notWritableSays,
		"The primary of a cluster of several servers answers and is read-only, so no client can write, or another " +
			"server of the cluster takes the writes. Not reported for a primary that itself replicates from outside " +
			"the fleet. One that a failover promoted and that restarts read-only is opened again, once, where the " +
			"policy recovers primaries and no other server takes writes. It is not where another server, or another " +
			"data directory, stands at its address, or a replica of it has more: a blocked episode says so, and what " +
			"to do."},
	{TwoWritable, intermediate | former | leaf, false, twoWritableSays,
		"A server of the cluster takes writes beside the primary, without following it, or in a circle with it. What " +
			"is written to one is missing on the other. Make the wrong one read-only at once; where the data tell " +
			"which one that is, the finding does. Also one that takes writes while the primary does not answer, and " +
			"was no replica of it when it fell silent; and several that were its replicas and take writes since: " +
			"none of them is taken for the new primary, because nothing tells which one should be. The evidence has " +
			"what each has that the other lacks."},
	{EventsNotRun, primary, false, eventsNotRunSays,
		"The primary has scheduled events that came by replication from another server, which ran them as long as it " +
			"was the primary. Here they are disabled, so nobody runs them. Enable those that should run. Not seen " +
			"where the daemon's account lacks EVENT (MySQL) or SELECT ON mysql.event (MariaDB)."},

	{SourceLacksTransactions, primary | intermediate | former, false, sourceLacksSays,
		"A source does not have what all its replicas have: it came back with an empty data directory, or with an " +
			"old copy. The data are at the replicas. Do not clone a replica from it. Promote a replica, or restore " +
			"the source."},
	{FormerPrimaryBack, former | leaf, false, formerBackSays,
		"A server that a promoted one has replaced answers again, is read-only, and follows nobody. It is not part " +
			"of replication until it is rejoined: by GTID if it has nothing that the primary lacks, else rebuilt."},
	{FollowsNobody, former | leaf, false, followsNobodySays,
		"A member of a cluster, not its primary, has no source. What is written to the primary does not reach it."},

	{DeadIntermediate, intermediate, false, when(dead, several(allReachable), deadSays),
		"A replica that has two or more replicas of its own does not answer, and these can't reach it either. They " +
			"must be moved under another source."},
	{DeadIntermediateAndSomeReplicas, intermediate, false, when(dead, someGone, deadSays),
		"As DeadIntermediate, but some of its replicas do not answer either. The others must be moved."},
	{DeadIntermediateAndReplicas, intermediate, false, when(deserted, always, desertedSays),
		"Neither an intermediate source nor any of its replicas answers: there is no witness, and no replica to move."},
	{DeadIntermediateWithSingleReplica, intermediate, false, when(unwitnessed, single, untestedSays),
		"An intermediate source does not answer. Its only replica answers, but can't tell, because its receiver is " +
			"stopped. Nothing is done: start the receiver, or move the replica."},
	{DeadIntermediateWithSingleReplicaFailingToConnect, intermediate, false, when(dead, single, deadSays),
		"An intermediate source does not answer, and its only replica can't reach it either. The replica must be " +
			"moved under another source."},
	{UnreachableIntermediate, intermediate, false, unreachableSays(false),
		"We can't reach an intermediate source, but it is not proved dead. The evidence says what is missing."},
	{UnreachableIntermediateWithLaggingReplicas, intermediate, false, unreachableSays(true),
		"As UnreachableIntermediate, and all its replicas that still receive are further behind than the threshold, " +
			"or delayed by configuration."},
	{AllIntermediateReplicasNotReplicating, intermediate, true, intermediateIdleSays,
		"An intermediate source answers, and none of its replicas replicates."},
	{AllIntermediateReplicasFailingToConnectOrDead, intermediate, true, allFailSays,
		"An intermediate source answers us, but all of its replicas that answer, of two or more, fail to connect to " +
			"it. They may be moved under another source."},
	{DeadFormerPrimary, former, false, when(dead, primaryLives, deadSays),
		"A server that follows no server of the cluster, and is not its primary, does not answer. Replicas still " +
			"follow it: at least one can't reach it, none receives from it, and the primary is alive. A failover " +
			"that was not finished leaves this. The replicas must be moved under the primary."},
	{UnreachableFormerPrimary, former, false, formerSays,
		"As DeadFormerPrimary, but it is not proved dead: a replica still receives from it, or no replica that " +
			"answers can tell, or all its replicas are out of reach too, or the primary of the cluster is not alive " +
			"either."},

	{ReplicaDead, leaf, false, replicaDeadSays,
		"A server that is neither the primary nor the source of another server does not answer. Only its readers " +
			"depend on it."},
	{ReplicaRefusesConnections, intermediate | former | leaf, false, refusesSays,
		"A server other than the primary is alive and does not accept our connection: too many connections, access " +
			"denied, a TLS error. Nothing is known about its replication until that is fixed."},
	{ReplicaStopped, anyone, false, channelSays("has its replication stopped", stopped, ""),
		"A replication thread was stopped without an error, so somebody stopped it. Start it, or declare a downtime. " +
			"Or a failover detached the server, because it could not follow the new primary; its episode says why."},
	{ReplicaBroken, anyone, false, channelSays("has its replication broken", broken,
		"It does not continue by itself: remove the cause, and start its replication; if its data differ, clone it "+
			"again."),
		"A replication thread stopped with an error other than a failure to connect. It will not continue by itself. " +
			"The evidence has the error."},
	{ReplicaFailingToConnect, anyone, false, channelSays("can't connect to its source", (*view).failsToConnect, ""),
		"The receiver of a replica can't connect to its source, although the source is alive, or is outside of the " +
			"fleet. Check the replication account, the network and TLS. Not reported where the source is down, " +
			"unless the error has another cause, such as a refused login."},
	{ReplicaLagging, anyone, false, laggingSays,
		"A replica is further behind its source than the threshold. The configured delay does not count."},
	{ReplicaBehind, anyone, false, replicaBehindSays,
		"A replica lacks 10,000 transactions or more that its source had before, although the lag that it reports " +
			"is below the threshold: its receiver hangs, or the network is too slow. Restart its receiver, and " +
			"check the network. Or it has not applied that many of what it has received, and says that it is 0 s " +
			"behind: check its applier."},
	{IncompleteSource, primary | intermediate | former, false, incompleteSourceSays,
		"The replicas of a server get only a part of what it has: it has no binary log, does not log what it " +
			"replicates, or filters what it logs or replicates. They can replace nothing but a part of it. Correct " +
			"its configuration, or move its replicas to another source and rebuild them."},
	{UnfitReplicas, primary, false, unfitSays,
		"Some replicas could not take the primary's place, or not with all others below them: one has no binary log, " +
			"does not log what it replicates, filters, does not replicate by GTID as others do, or another replica " +
			"could not follow it, because of its version or of the format of its binary log. Correct their " +
			"configuration, or set their promotion rule to must_not, so that nobody counts on them. Replicas that " +
			"people have excluded are left out: must_not, downtime, a delay."},
	{ReplicaWritable, intermediate | leaf, false, replicaWritableSays,
		"A replica takes writes from clients. What is written there is missing elsewhere, and may break its " +
			"replication. Make it read-only."},
	{ErrantGTID, anyone, false, errantSays,
		"A replica has transactions that its sources do not have, and that none of the servers above it wrote. If it " +
			"were promoted, it would send them to the others, or fail to if its logs are purged. On MariaDB these " +
			"are local writes that the source does not have; those that the source has gone past by number are seen " +
			"where its binary log shows that it lacks them."},
	{MultiSource, anyone, false, multiSourceSays,
		"A replica receives from several sources. It is shown, and is never promoted or moved."},
	{UnusableName, anyone, false, unusableSays,
		"What a server says in the place of a name (its source, its report_host, what a replica registered as) " +
			"can't be one. It is never used as one. Set it to a host name or an address, without a port."},
	{DoubtfulName, anyone, false, doubtfulSays,
		"A name of the server has led to another server too: a virtual address that moved, a proxy, a record of the " +
			"name service that changed. No server is made to follow it by that name. Have its replicas follow it by " +
			"a name of its own."},
	{SelfReplication, anyone, false, selfSays,
		"The source of a server is the server itself: the name of its source leads to it, as a virtual address does " +
			"that has moved there. It gets no new data. Remove its source, or give it another one."},
	{DuplicateServerID, anyone, false, duplicateIDSays,
		"Two servers of a cluster have one server_id. Neither can follow the other, and MariaDB disconnects one when " +
			"the other connects to the same source. Set another server_id at one of them."},
	{DuplicateUUID, anyone, false, duplicateUUIDSays,
		"Two servers of a cluster have one server_uuid: a data directory was copied with its auto.cnf. A source " +
			"disconnects one when the other connects, and neither can follow the other. Remove auto.cnf from the " +
			"data directory of one of them, and restart it."},
	{UnknownReader, anyone, false, readerSays,
		"More programs read the binary log of a server without a source than it has known replicas, for five seconds " +
			"or longer. It may be a reader that is no server (change-data capture, a backup of binary logs), or a " +
			"replica that this daemon can't reach or does not know: of two with one server_id a source lists only " +
			"one. What such a replica has received is not known. Discover it, set its report_host, or give it a " +
			"server_id of its own."},
	{StrangeLock, anyone, false, strangersSays,
		"A session that is no daemon's holds one of the daemons' advisory locks on a server, or waits for one, or " +
			"did so in the last ten minutes. Any account can take them. The daemons end such a session " +
			"(CONNECTION_ADMIN); where they can't, a step is done without the lock, and the locks of a majority " +
			"can't be counted there. Find out who it is, and revoke what lets it log in. Looked for each half " +
			"minute, and before each step."},
	{MissingPrivileges, anyone, false, privilegesSays,
		"The daemon's account lacks privileges on a server. The evidence has each GRANT, and what is lost without " +
			"it: a look at the server, a step of a recovery, or a reason in a message. Replicas get what is granted " +
			"on the primary. What a role gives counts where the role is active as soon as the account logs in (SET " +
			"DEFAULT ROLE). Read each half minute."},
	{Stranger, outsider, false, strangerSays,
		"A server was found by its registration as a replica alone, and no decision rests on it: it is no candidate, " +
			"no donor and no witness, and it is not moved. Any account that may replicate can register any address. " +
			"Either the server and its source have not confirmed each other, or it has transactions that its living " +
			"source, asked later, did not have. If it is yours, discover it by name; if not, find out whose account " +
			"registered it."},
	{TooManyRegistered, anyone, false, tooManySays,
		"More replicas have registered with a server than the daemon looks at: those that it has not confirmed are " +
			"counted against discovery.max_registered and discovery.max_strangers. The others are not asked and not " +
			"shown. Find out whose account registers them, name your servers in discovery.only, or raise the limits."},
}

// when makes a rule of a verdict, a condition and a sentence.
func when(verdict verdict, also func(*view) bool, sentence func(*view) string) func(*view) (string, []string) {
	return func(v *view) (string, []string) {
		if v.verdict != verdict || !also(v) {
			return "", nil
		}
		return sentence(v), v.testimonies()
	}
}

func always(*view) bool         { return true }
func single(v *view) bool       { return len(v.replicas) == 1 }
func someGone(v *view) bool     { return v.count(gone) > 0 }
func allReachable(v *view) bool { return v.count(gone) == 0 }

func several(also func(*view) bool) func(*view) bool {
	return func(v *view) bool { return !single(v) && also(v) }
}

// primaryLives also where the primary only refuses us.
func primaryLives(v *view) bool {
	return v.primary.Up() || v.primary.Probe.Failure != topology.OK && v.primary.Probe.Failure.Alive()
}

func stalledSays(v *view) (string, []string) {
	if !v.Up() || v.Instance.Stalled == nil {
		return "", nil
	}
	s := v.Instance.Stalled
	cause := "for an unknown reason"
	switch s.Cause {
	case "disk_full":
		cause = "because its disk is full"
	case "lock":
		cause = "because a session holds a lock of the whole server (FLUSH TABLES WITH READ LOCK, or a backup)"
	case "semi_sync":
		cause = "waiting for a semi-synchronous replica to acknowledge"
	}
	out := []string{fmt.Sprintf("%v: %s in state %q, the longest for %d s", v.Key, many(s.Count, "thread"), s.State,
		s.Seconds)}
	if semi := v.Instance.SemiSync; s.Cause == "semi_sync" {
		out = append(out, fmt.Sprintf("%v: waits for %s, and has %s", v.Key, many(semi.WaitCount, "acknowledgement"),
			many(semi.Clients, "semi-synchronous replica")))
	}
	return fmt.Sprintf("%s answers, but its commits have hung for %d s, %s.", v.is(), s.Seconds, cause), out
}
