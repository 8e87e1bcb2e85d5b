/*
 * The protocol of docs/lineage.md. README.md says what is modelled, what is not, and how to read a trail.
 *
 * Sets of members are bit masks, one bit for each volume. A member is its volume: the name lies on it. A volume is carried
 * by one instance at a time: the one it was launched with, or (inc) the one it was attached to after that one's end.
 *
 * Every step is one d_step, and a master remembers nothing between two steps but what is on its disk. So a crash of the
 * agent between any two steps, and an agent that never crashes, are the same runs.
 *
 * Reading the record, deciding and swapping are one step: between the read and a swap that succeeds the record cannot
 * have changed, and a swap that conflicts changes nothing. What else was observed before the swap either stays true
 * (terminated, removed from etcd) or may be wrong at any time here (a ping). With LATE a swap may also land long after
 * it was decided, and after its sender gave up, rebooted or ended: a time-out, a 5xx, a lost answer.
 */
#ifndef N
#define N 3 /* volumes: the first masters and their replacements */
#endif
#ifndef FIRST
#define FIRST 3 /* masters at the beginning */
#endif
#ifndef GENS
#define GENS 4 /* at most 4 */
#endif

/* states of the record */
#define NONE 0
#define CREATING 1
#define RESTORING 2
#define RESCUING 3
#define RUNNING 4
/* changes of membership */
#define ADD 1
#define REMOVE 2
#define PROMOTE 3

/* the machines */
byte up, halt, dead;     /* running, stopped, terminated; neither: not launched yet */
byte inc;                /* the volume is on its second instance */
#if defined(LIVE) || defined(KNOWN)
byte etcd;               /* etcd runs */
#define START etcd = etcd | me
#define STOP etcd = etcd & ~me
#define IDLE (!(etcd & me))
#define OFF IDLE
#define RUNS (etcd & me)
#else
/* Where the record may be unknown at any time, etcd may start and end at any time wherever rule 1 lets it start so. Then
   what counts is where it may run, and starting and ending it are no steps. */
#define etcd (up & SEEN & ~junk & ~(mk ^ inc) & ~note)
#define START skip
#define STOP skip
#define IDLE true
#define OFF false
#define RUNS false
#endif
byte dat[5];        /* the volume holds sound data of that generation */
byte junk;               /* the volume holds data of a member that etcd removed: its id never comes back */
byte hid;                /* the data is there, but the node does not see it: the volume is not attached yet */
byte mk;                 /* the marker names the second instance */
byte note;               /* the node noted, on another disk, that it reports its data lost */
/* the record */
byte rs, rg, mem, lrnr, lost, rinc, rpos, hold, ck, ct, cb;
bool hinc, cbinc;
/* etcd: the true voters of each generation; learners and requests under way of the newest */
byte vot[5], lrn, padd, pprm, prem;
bool ran, bk, known; /* the cluster served once; a backup exists; the record existed once */
#ifdef LOG
byte wr, rwr;            /* who has the one write; whose recorded position has it */
bool acked, bwr, keep;         /* a majority had it; the backup has it */
#endif
#ifdef LATE
byte late[4];
#endif
#ifdef FAULTS
byte faults;
#endif
#ifdef LIVE
bool misled;              /* the next step of a master goes by a stale answer, a failed ping or an unknown record */
#endif

#define P(x) (((x)&1) + (((x)>>1)&1) + (((x)>>2)&1) + (((x)>>3)&1) + (((x)>>4)&1) + (((x)>>5)&1))
#define LOW(x) ((x) & (0-(x)))
#define MAJ(set, of) (2*P((set)&(of)) > P(of))

/* facts */
#define SEEN ((dat[1]|dat[2]|dat[3]|dat[4]|junk) & ~hid)
#define EMPTY (!(SEEN & me))
#define SOUND (dat[rg] & ~hid & me)
#define OLD (SEEN & ~dat[rg] & ~junk & me)
#define MARKED (!((mk ^ inc) & me))
#define HERE ((mem & ~(rinc ^ inc)) & me)
#ifdef H9
#define NOTED true
#else
#define NOTED ((note & me) || !(hid & me))
#endif
/* a position is a promise not to run: noted first, and taken back by a swap only */
#ifdef H5
#define PROMISE(x, y) (y)
#else
#define PROMISE(x, y) (x)
#endif
#define TRULYGONE (mem & (lost | dead | (rinc ^ inc)))
#ifdef M2
#define GONE (mem & ~me)
#else
#define GONE TRULYGONE
#endif
#define INSTGONE(u, i) (((u) & dead) || (((u) & inc) != 0) != (i))
#define HOLDERGONE (INSTGONE(hold, hinc) || (lost & hold))
#define MYHOLD (hold == me && ((inc & me) != 0) == hinc && !(lost & me))
#define MYCHANGE (cb == me && ((inc & me) != 0) == cbinc)
#define ISIN (vot[rg] | lrn)
#define CANACK(g) (vot[g] && MAJ(etcd & dat[g], vot[g]))
#define REACH (CANACK(rg))
/* voters by the record; the target of a promotion, or of a removal, may be one or not */
#ifdef M4
#define RV (mem & ~lrnr)
#else
#define RV ((mem & ~lrnr) | ((ck == PROMOTE || ck == REMOVE) -> ct : 0))
#endif
/* the quorum is lost for one of the sets of voters that the record allows: those whose change is under way do not help */
#ifdef H1
#define SURE RV
#else
#define SURE (RV & ~(ct & ~GONE))
#endif
#define QLOST (!MAJ(RV & ~GONE, RV) || !MAJ(SURE & ~GONE, SURE))
/* who may rescue: the voters that are left; when none is, the learners */
#ifdef H2
#define LEFT (RV & ~GONE)
#else
#define LEFT ((RV & ~GONE) -> (RV & ~GONE) : (mem & ~GONE))
#endif

/* invariants, asserted where a swap begins a generation, and watched all the time */
#define CANFORM(m) (vot[rg] && MAJ(m & dat[rg] & ~TRULYGONE, vot[rg]))
#define SURVIVES (vot[rg] & dat[rg] & ~TRULYGONE)
#define CANACKS (CANACK(1) + CANACK(2) + CANACK(3) + CANACK(4))

/* effects */
#ifdef LIVE
#define LAUNCH && P(up | halt) < FIRST
#else
#define LAUNCH
#endif
#ifdef LOG
#define BACKUP (!bk || (acked && !bwr))
#define BACKEDUP bk = 1; bwr = acked
#else
#define BACKUP !bk
#define BACKEDUP bk = 1
#endif
#define SYNC(set) set = (set & ~me) | (inc & me)
#define CLEAN(g) if :: g < rg && !MAJ(dat[g], vot[g]) -> vot[g] = 0 :: else fi
#ifdef LOG
#define FORGET(m) wr = wr & ~(m)
#define NOPOSITIONS rpos = 0; rwr = 0
#define UNPOSITION rpos = rpos & ~me; rwr = rwr & ~me
#define POSITION rpos = rpos | me; rwr = (rwr & ~me) | (wr & me)
#define LOSES(kept) assert(!acked || (kept) || !(wr & vot[rg] & dat[rg] & ~TRULYGONE)); acked = (acked && (kept))
#define RESCUED vot[rg] = me; keep = ((wr & me) != 0); MAKE; wr = (keep -> me : 0); keep = 0
#define RESTORED wr = ((bwr && rs == RESTORING) -> me : 0)
#ifdef M8
#define BEST true
#else
#define BEST ((rwr & me) || !(rwr & LEFT))
#endif
#else
#define FORGET(m) skip
#define NOPOSITIONS rpos = 0
#define UNPOSITION rpos = rpos & ~me
#define POSITION rpos = rpos | me
#define LOSES(kept) skip
#define RESCUED MAKE; vot[rg] = me
#define RESTORED skip
#define BEST true
#endif
#define WIPE(m) dat[1] = dat[1] & ~(m); dat[2] = dat[2] & ~(m); dat[3] = dat[3] & ~(m); dat[4] = dat[4] & ~(m); \
	junk = junk & ~(m); hid = hid & ~(m); FORGET(m); CLEAN(1); CLEAN(2); CLEAN(3)
#define MAKE WIPE(me); dat[rg] = dat[rg] | me; SYNC(mk); note = note & ~me
#define BYME cb = me; cbinc = ((inc & me) != 0)
#define ENDCHANGE ck = 0; ct = 0; cb = 0; cbinc = 0
#define JUNK(m) junk = junk | (dat[rg] & (m)); dat[rg] = dat[rg] & ~(m)
#define DROP(m) JUNK((m) & ~ISIN); mem = mem & ~(m); lrnr = lrnr & ~(m); lost = lost & ~(m); rpos = rpos & ~(m); rinc = rinc & ~(m)
#define NEWGEN(s) note = note & ~me; rg++; rs = s; mem = me; rinc = inc & me; lrnr = 0; lost = 0; NOPOSITIONS; \
	hold = me; hinc = ((inc & me) != 0); ENDCHANGE; lrn = 0; padd = 0; pprm = 0; prem = 0; CLEAN(1); CLEAN(2); CLEAN(3)

#ifdef LATE
#define FRESH 0
#define TOUCHED known = 1; late[0] = 0; late[1] = 0; late[2] = 0; late[3] = 0
#define SWAP(k, name, g, e) \
	:: d_step { (up & me) && (g) -> e; TOUCHED; TELL(name) } \
	:: d_step { (up & me) && !late[id] && (g) -> late[id] = k; printf("sent: "); TELL(name) } \
	:: d_step { late[id] == k -> e; TOUCHED; printf("landed: "); TELL(name) }
#else
/* masters that nobody has heard of yet are all alike: the lowest goes first */
#define FRESH (up & ~(dat[1]|dat[2]|dat[3]|dat[4]|mem|vot[1]|vot[2]|vot[3]|vot[4]|lrn|padd|pprm|prem|inc|mk|note|junk|hold|cb|ct))
#define TOUCHED known = 1
#define SWAP(k, name, g, e) :: d_step { (up & me) && !(FRESH & me & ~LOW(FRESH)) && (g) -> e; TOUCHED; AWAKE; TELL(name) }
#endif
#define ACT(name, g, e) :: d_step { (up & me) && (g) -> e; AWAKE; TELL(name) }
#ifdef FAULTS
#define FAULT(name, g, e) :: d_step { faults < FAULTS && (g) -> e; faults++; TELL(name) }
#else
#define FAULT(name, g, e) :: d_step { (g) -> e; TELL(name) }
#endif
#ifdef LIVE
#define LIVELY(x) ((x) || misled)
#define AWAKE misled = 0
#else
#define AWAKE skip
#define LIVELY(x) true /* what a stale answer, a failed ping or an unknown record could hide is not insisted on */
#endif
#ifdef H8
#define LEAVING 0
#else
#define LEAVING (ck == REMOVE -> ct : 0) /* what is gone and being removed does not come back */
#endif
#define BECOMING (rs == CREATING || rs == RESTORING || rs == RESCUING)

#define TELL(what) printf("%d ", id); printf(what); printf(" | gen %d state %d members %d learners %d lost %d change %d of %d by %d | voters %d learners %d | up %d etcd %d data %d %d %d %d\n", rg, rs, mem, lrnr, lost, ck, ct, cb, vot[rg], lrn, up, etcd, dat[1], dat[2], dat[3], dat[4])
#define me (1 << id)
proctype master(byte id)
{
end:	do
	/* --- no record, or one whose holder has yet to begin --- */
#ifdef M3
	SWAP(1, "row: create", rs == NONE && EMPTY && rg < GENS, assert(!ran && !SURVIVES); NEWGEN(CREATING))
#else
	SWAP(1, "row: create", rs == NONE && EMPTY && !known && !bk, assert(!ran && !SURVIVES); NEWGEN(CREATING))
#endif
	SWAP(2, "row: take over", BECOMING && HOLDERGONE && EMPTY && rg < GENS && !ran && !bk, assert(!ran && !SURVIVES); NEWGEN(CREATING))
	SWAP(3, "row: take over", BECOMING && HOLDERGONE && EMPTY && rg < GENS && bk, assert(!SURVIVES); LOSES(bwr); NEWGEN(RESTORING))
#ifdef M9
	ACT("row: resume", (rs == CREATING || rs == RESTORING) && !SOUND && IDLE, assert(!vot[rg] || vot[rg] == me); MAKE; RESTORED; vot[rg] = me)
#else
	ACT("row: resume", (rs == CREATING || rs == RESTORING) && MYHOLD && !SOUND && IDLE, assert(!vot[rg] || vot[rg] == me); MAKE; RESTORED; vot[rg] = me)
#endif
	ACT("row: resume", rs == RESCUING && MYHOLD && OLD && !(note & me) && IDLE, assert(!vot[rg]); RESCUED)
	ACT("row: resume", BECOMING && MYHOLD && SOUND && MARKED && !(note & me) && OFF, START)
	SWAP(4, "confirm", BECOMING && MYHOLD && SOUND && (etcd & me), rs = RUNNING; ran = 1; hold = 0; hinc = 0)

	/* --- own data --- */
#ifdef M7
	ACT("row: start", (SEEN & ~junk & me) && MARKED && OFF, START)
#else
	ACT("row: start", rs == RUNNING && SOUND && HERE && MARKED && !((lost | PROMISE(note | rpos, note)) & me) && OFF
		&& LIVELY((ISIN & me) && (REACH || !QLOST)), START)
	ACT("stop", rs != NONE && RUNS && (!SOUND || !HERE || (BECOMING && !MYHOLD) || !(ISIN & me)), STOP)
#endif
#ifndef KNOWN
	FAULT("row: start unknown", (up & SEEN & ~junk & me) && MARKED && !(note & me) && OFF, START)
#endif
#ifdef H3
	SWAP(5, "row: moved volume", SOUND && (mem & me) && ((rinc ^ inc) & me) && !(LEAVING & me), SYNC(rinc); lost = lost & ~me; rpos = rpos & ~me)
#else
	SWAP(5, "row: moved volume", rs == RUNNING && SOUND && (mem & me) && ((rinc ^ inc) & me) && !(LEAVING & me), SYNC(rinc); lost = lost & ~me; rpos = rpos & ~me)
	SWAP(6, "row: moved volume", BECOMING && hold == me && !(lost & me) && (SOUND || (rs == RESCUING && OLD)) && ((rinc ^ inc) & me),
		SYNC(rinc); hinc = ((inc & me) != 0))
#endif
#ifdef M5
	ACT("mark", (mem & SEEN & me) && !MARKED && IDLE, SYNC(mk))
#else
	ACT("mark", HERE && SOUND && !MARKED && IDLE, SYNC(mk))
#endif
#ifdef H4
#define BACK rpos
#else
#define BACK (lost | note | rpos)
#endif
	SWAP(7, "taken back", HERE && !(LEAVING & lost & me) && (SOUND || (rs == RESCUING && (hold & me) && OLD)) && (BACK & me) && IDLE && LIVELY((lost & me) || !QLOST || REACH), lost = lost & ~me; note = note & ~me; UNPOSITION)
	ACT("row: set aside older", rs != NONE && OLD && IDLE && !(rs == RESCUING && (hold & me)), WIPE(me))
	ACT("row: set aside removed", rs != NONE && IDLE && ((SOUND && (!(mem & me) || (LEAVING & GONE & me))) || (SEEN & junk & me)), WIPE(me))
	SWAP(8, "row: lost disk", rs != NONE && EMPTY && HERE && !(lost & me) && !((rs == CREATING || rs == RESTORING) && MYHOLD)
		&& LIVELY(!(ck == ADD && ct == me && MYCHANGE)) && NOTED, lost = lost | me)
	ACT("note it first", rs != NONE && EMPTY && HERE && !(lost & me) && !NOTED, note = note | me)

	/* --- empty, and a quorum answers: one change at a time --- */
	SWAP(9, "row: join", EMPTY && rs == RUNNING && REACH && ck == 0 && GONE && (!HERE || (lost & me)), ck = REMOVE; ct = LOW(GONE); BYME)
#define LEFTIN (ISIN & ct & ~prem)
#define NEXT ((LEFTIN & GONE) -> LOW(LEFTIN & GONE) : LOW(LEFTIN)) /* the gone first: etcd refuses what would cost the quorum */
	ACT("row: join", ck == REMOVE && MYCHANGE && REACH && LEFTIN && MAJ(etcd & dat[rg], vot[rg] & ~NEXT), prem = prem | NEXT)
	SWAP(10, "row: join", ck == REMOVE && MYCHANGE && REACH && !(ISIN & ct), DROP(ct); ENDCHANGE)
#ifdef M1
	ACT("row: join", EMPTY && rs == RUNNING && REACH && !(mem & me) && !lrn, padd = padd | me)
	ACT("row: join", EMPTY && REACH && (lrn & me), MAKE; START)
	ACT("row: join", REACH && (lrn & etcd & me), pprm = pprm | me)
	SWAP(11, "row: join", REACH && (vot[rg] & me) && !(mem & me), mem = mem | me; SYNC(rinc))
#else
	SWAP(11, "row: join", EMPTY && rs == RUNNING && REACH && ck == 0 && !(mem & me) && !((lrn | padd) & me) && LIVELY(!GONE && !(lrn & ~mem)),
		mem = mem | me; lrnr = lrnr | me; SYNC(rinc); ck = ADD; ct = me; BYME)
	ACT("row: join", ck == ADD && ct == me && MYCHANGE && REACH && !(ISIN & me) && !lrn && !(padd & me) && EMPTY, padd = padd | me)
	ACT("row: join", ck == ADD && ct == me && MYCHANGE && REACH && (lrn & me) && EMPTY && !(lost & me), MAKE; START)
	SWAP(12, "row: join", (lrnr & me) && HERE && !(lost & me) && SOUND && (etcd & me) && (lrn & me) && (ck == 0 || (ck == ADD && ct == me && MYCHANGE)),
		ck = PROMOTE; ct = me; BYME)
	ACT("row: join", ck == PROMOTE && ct == me && MYCHANGE && REACH && SOUND && (etcd & lrn & me) && !(pprm & me), pprm = pprm | me)
	SWAP(13, "row: join", ck == PROMOTE && ct == me && MYCHANGE && REACH && (vot[rg] & me), lrnr = lrnr & ~me; ENDCHANGE)
#endif
	/* a change whose master is gone or slow, or whose target lost its disk, becomes a removal; so a request of an earlier
	   owner that is done late finds its member removed, and a removal that was sent is never called off */
#define STUCK (rs == RUNNING && REACH && LIVELY(INSTGONE(cb, cbinc) || (cb & halt) || (MYCHANGE && (ct & lost))) && LIVELY(!(etcd & vot[rg] & me)))
#ifdef M6
	SWAP(15, "take over a change, its learner left", ck == ADD && !MYCHANGE && STUCK, DROP(ct); ENDCHANGE)
	SWAP(16, "take over a promotion, its learner left", ck == PROMOTE && STUCK && !MYCHANGE && !(vot[rg] & ct), DROP(ct); ENDCHANGE)
#elif defined(H6)
#define TAKEN ((ck == ADD || ck == PROMOTE) && MYCHANGE && (ct != me || (lost & me)) && REACH)
	SWAP(15, "take over a change", ck && !MYCHANGE && STUCK, BYME)
	ACT("remove its learner", TAKEN && (lrn & ct) && !(prem & ct), prem = prem | ct)
	SWAP(16, "end it: not added", TAKEN && !(ISIN & ct), DROP(ct); ENDCHANGE)
#else
	SWAP(15, "take over a change", ck && STUCK && !(ck == PROMOTE && (vot[rg] & ct)) && !(ck == REMOVE && MYCHANGE), ck = REMOVE; BYME)
#endif
	SWAP(17, "end a promotion that was made", ck == PROMOTE && STUCK && (vot[rg] & ct), lrnr = lrnr & ~ct; ENDCHANGE)
	SWAP(18, "remove another too", ck == REMOVE && MYCHANGE && REACH && (GONE & ~ct), ct = ct | LOW(GONE & ~ct))
#ifndef H7
	ACT("a learner that the record does not list", rs == RUNNING && EMPTY && REACH && (lrn & ~mem) && !(prem & lrn), prem = prem | (lrn & ~mem))
#endif

	/* --- no quorum --- */
	SWAP(19, "row: restore", EMPTY && rs == RUNNING && !(RV & ~GONE) && bk && rg < GENS, assert(!SURVIVES); LOSES(bwr); NEWGEN(RESTORING))
	ACT("row: position", rs == RUNNING && SOUND && HERE && (LEFT & me) && QLOST && PROMISE(!(note & me), etcd & me) && LIVELY(!REACH),
		STOP; note = note | PROMISE(me, 0))
#define SURVIVOR (rs == RUNNING && IDLE && SOUND && HERE && MARKED && (LEFT & me) && QLOST && LIVELY(!REACH))
	SWAP(20, "row: position", SURVIVOR && !(rpos & me) && PROMISE(note & me, true), POSITION)
	SWAP(21, "row: rescue", SURVIVOR && !(LEFT & ~rpos) && BEST && rg < GENS, assert(!CANFORM(~rpos)); LOSES(wr & me); NEWGEN(RESCUING))
#ifdef LOG
	SWAP(22, "row: rescue from backup", SURVIVOR && !(LEFT & ~rpos) && BEST && bwr && !(rwr & me) && rg < GENS, assert(!CANFORM(~rpos)); LOSES(bwr); NEWGEN(RESTORING))
#endif

	/* --- etcd: a request under way is done when a quorum is there, however late --- */
	:: d_step { (padd & me) && (ISIN & me) -> padd = padd & ~me; TELL("etcd: has it already") }
	:: d_step { (padd & me) && !(ISIN & me) && REACH -> padd = padd & ~me; if :: !lrn -> lrn = lrn | me :: else fi; TELL("etcd: adds it") }
	:: d_step { (pprm & me) && REACH -> pprm = pprm & ~me; if :: lrn & me -> lrn = lrn & ~me; vot[rg] = vot[rg] | me :: else fi; TELL("etcd: promotes it") }
#define REMOVED prem = prem & ~me; lrn = lrn & ~me; pprm = pprm & ~me; vot[rg] = vot[rg] & ~me
	:: d_step { (prem & me) && REACH && (vot[rg] & ~me) -> REMOVED; TELL("etcd: removes it") }
	:: d_step { (prem & me) && REACH && (vot[rg] & ~me) && (dat[rg] & me) -> REMOVED; JUNK(me); TELL("etcd: removes it, and it learns of it") }
#ifdef LOG
	:: d_step { (etcd & dat[rg] & ISIN & me) && REACH && !(wr & me) -> wr = wr | me; if :: MAJ(wr & dat[rg], vot[rg]) -> acked = 1 :: else fi; TELL("etcd: has the write") }
#endif

	/* --- fate --- */
	FAULT("terminated, its volume with it", ((up | halt) & me) && !(FRESH & me & ~LOW(FRESH)),
		up = up & ~me; halt = halt & ~me; dead = dead | me; STOP; note = note & ~me; WIPE(me))
	FAULT("etcd ends", RUNS, STOP)
	FAULT("the disk dies", (up & me) && (SEEN & me), STOP; WIPE(me))
#ifdef RETURN
	FAULT("terminated, its volume stays", ((up | halt) & me) && !(inc & me) && (SEEN & me), up = up & ~me; halt = halt & ~me; dead = dead | me; STOP; note = note & ~me)
	:: d_step { (dead & me) && !(inc & me) && (SEEN & me) -> dead = dead & ~me; up = up | me; inc = inc | me; note = note & ~me; TELL("its volume on another instance") }
	FAULT("the disk is not seen", (up & SEEN & me), STOP; hid = hid | me)
	:: d_step { (up & hid & me) -> hid = hid & ~me; TELL("the disk is seen again") }
#endif
#ifdef STOPS
	FAULT("stopped", up & me, up = up & ~me; halt = halt | me; STOP)
	#ifndef STAY
	:: d_step { halt & me -> halt = halt & ~me; up = up | me; TELL("started again") }
#endif
#ifdef OPLOST
	FAULT("the operator: lost", (halt & mem & me) && !(lost & me), lost = lost | me; TOUCHED)
#endif
#endif
	od
}

#define BIT(n) (1 << (n))
#define LAUNCHED (up | halt | dead)
#define HEALED (rs == RUNNING && REACH && !(up & ~(vot[rg] & etcd & dat[rg])))
#define ACCEPTED ( \
	!up                                                                /* nobody is left, and nobody comes */ \
	|| rg == GENS                                                      /* the model's bound */ \
	|| (rs == NONE && known)                                           /* row: adopt */ \
	|| (rs == RUNNING && !REACH && (RV & ~TRULYGONE & halt))           /* row: wait quorum, for one that is stopped */ \
	|| (BECOMING && (hold & halt))                                     /* row: wait holder, which is stopped */ \
	|| (rs == RUNNING && !REACH && !(RV & ~TRULYGONE) && !bk)          /* all gone, and never a backup */ \
	|| (BECOMING && HOLDERGONE && ran && !bk))                         /* the same, in the middle of a rescue */

#ifdef STRICT
#define ACCEPT false
#else
#define ACCEPT ACCEPTED
#endif

proctype world()
{
	byte j = FIRST;
end:	do
	:: d_step { j < N LAUNCH -> up = up | BIT(j); j++ }
	:: d_step { rs == RUNNING && REACH && BACKUP -> BACKEDUP }
#ifdef VANISH
#define id N
	FAULT("the record is deleted", rs == RUNNING, rs = NONE; mem = 0; rinc = 0; lrnr = 0; lost = 0; NOPOSITIONS; ENDCHANGE)
#endif
	:: d_step { CANACKS > 1 -> assert(false) /* two clusters can acknowledge */ }
	:: d_step { rs != NONE && (vot[rg] & ~RV) -> assert(false) /* a voter that the record does not list */ }
#ifdef LIVE
	:: d_step { faults < FAULTS && !misled && rs -> misled = 1; faults++; printf("misled | in the next step\n") }
	:: timeout -> assert(HEALED || ACCEPT); break
#endif
	od
}

init
{
	byte k = 0;
	atomic {
		up = BIT(FIRST) - 1;
		do
		:: k < N -> run master(k); k++
		:: else -> k = 0; break
		od;
		run world()
	}
}
