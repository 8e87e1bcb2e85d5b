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
#include "state.pml"

#ifdef LATE
#define NOTLATE late[id] = 0 /* the new instance sends its own: a swap of the old one is not looked at */
#define FRESH 0
#define TOUCHED known = 1; late[0] = 0; late[1] = 0; late[2] = 0; late[3] = 0
#define SWAP(k, name, g, e) \
	:: d_step { (up & me) && (g) -> SHOW(name) e; TOUCHED; TELL(name) } \
	:: d_step { (up & me) && !late[id] && (g) -> late[id] = k; printf("sent: "); TELL(name) } \
	:: d_step { late[id] == k -> e; TOUCHED; printf("landed: "); TELL(name) }
#else
#define NOTLATE skip
/* masters that nobody has heard of yet are all alike: the lowest goes first */
#ifdef SAMPLE
#define FRESH 0
#else
#define FRESH (up & ~(dat[1]|dat[2]|dat[3]|dat[4]|mem|vot[1]|vot[2]|vot[3]|vot[4]|lrn|padd|pprm|prem|inc|mk|note|junk|hold|cb|ct))
#endif
#define TOUCHED known = 1
#define SWAP(k, name, g, e) :: d_step { (up & me) && !(FRESH & me & ~LOW(FRESH)) && (g) -> SHOW(name) e; TOUCHED; AWAKE; TELL(name) }
#endif
#define ACT(name, g, e) :: d_step { (up & me) && (g) -> SHOW(name) e; AWAKE; TELL(name) }
#ifdef FAULTS
#define FAULT(name, g, e) :: d_step { faults < FAULTS && (g) -> e; faults++; TELL(name) }
#else
#define FAULT(name, g, e) :: d_step { (g) -> e; TELL(name) }
#endif
#define UNSURE(name, g, e) FAULT(name, g, SHOW(name) e)
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

/* what a trail prints; and, outside the state, each step the first time it is reached, for the test */
c_decl { \#include <stdio.h>
	static char hit[1000]; }
#define REACHED(what) c_code { if (!hit[__LINE__]) { hit[__LINE__] = 1; printf("reached %d %s\n", __LINE__, what); } }
/* With SAMPLE, one state in so many, and what every master may do in it, for the test that compares etcd.Decide. The key
   is over all that a guard of a master reads. */
#ifdef SAMPLE
#ifdef LOG
#define WRITES now.wr, now.rwr, now.fwr, now.bwr
#else
#define WRITES 0, 0, 0, 0
#endif
#ifdef LIVE
#define TRULY now.etcd, now.misled
#else
#define TRULY 0, 0
#endif
c_code {
	static unsigned long long sampled(int show)
	{
		int f[] = { now.up, now.halt, now.dead, now.inc, now.dat[1], now.dat[2], now.dat[3], now.dat[4], now.junk, now.hid, now.mk, now.note,
			now.rs, now.rg, now.mem, now.lrnr, now.lost, now.rinc, now.rpos, now.hold, now.hinc, now.ck, now.ct, now.cb, now.cbinc,
			now.fmr, now.finc, now.fg, now.vot[1], now.vot[2], now.vot[3], now.vot[4], now.lrn, now.padd, now.pprm, now.prem,
			now.bk, now.known, now.ran, WRITES, TRULY };
		unsigned long long key = 1469598103934665603ull;
		int i;
		for (i = 0; i < sizeof f / sizeof f[0]; i++) {
			key = (key ^ f[i]) * 1099511628211ull;
			key ^= key >> 29;
		}
		if (key % SAMPLE)
			return 0;
		if (show) {
			printf("state %llu", key);
			for (i = 0; i < sizeof f / sizeof f[0]; i++)
				printf(" %d", f[i]);
			printf("\n");
		}
		return key;
	}
	static int shown(void) { sampled(1); return 0; } /* never a step */
	\#define SHOWN shown()
};
#define SHOW(what) c_code { if (sampled(0)) printf("step %llu %d %s\n", sampled(0), Pmaster->id, what); };
#else
#define SHOW(what)
#endif
#define TELL(what) REACHED(what); printf("%d ", id); printf(what); printf(" | gen %d state %d members %d learners %d lost %d change %d of %d by %d | voters %d learners %d | up %d etcd %d data %d %d %d %d\n", rg, rs, mem, lrnr, lost, ck, ct, cb, vot[rg], lrn, up, etcd, dat[1], dat[2], dat[3], dat[4])
#ifdef M11
#define AFTERALL true
#else
#define AFTERALL !(rs == RESCUING && FLEFT & ~me) /* while none of the survivors is left */
#endif
#define me (1 << id)
proctype master(byte id)
{
end:	do
	/* --- no record, or one whose holder has yet to begin --- */
#ifdef M3
	SWAP(1, "row: create", rs == NONE && EMPTY && rg < GENS, assert(!ran && !SURVIVES); NEWGEN(CREATING))
#elif defined(M10)
	SWAP(1, "row: create", EMPTY && rg < GENS, assert(!ran && !SURVIVES); NEWGEN(CREATING))
#else
	SWAP(1, "row: create", rs == NONE && EMPTY && !known && !bk, assert(!ran && !SURVIVES); NEWGEN(CREATING))
#endif
	SWAP(2, "row: take over", BECOMING && HOLDERGONE && EMPTY && rg < GENS && !ran && !bk, assert(!ran && !SURVIVES); NEWGEN(CREATING))
	SWAP(3, "row: take over", BECOMING && HOLDERGONE && EMPTY && rg < GENS && bk && AFTERALL,
		assert(!SURVIVES); FLOSES(bwr); LOSES(bwr); NOFORMERS; NEWGEN(RESTORING))
	SWAP(22, "row: rescue after rescuer", FORMER && HOLDERGONE && FBEST && rg < GENS, assert(!SURVIVES); FLOSES(KEPT); LOSES(KEPT); FEWER; NEWGEN(RESCUING))
	SWAP(23, "row: lost former", rs == RESCUING && HOLDERGONE && hold != me && (fmr & ~lost & ~(finc ^ inc) & me) && EMPTY, lost = lost | me)
#ifdef M9
	ACT("row: resume", (rs == CREATING || rs == RESTORING) && !SOUND && IDLE, assert(!vot[rg] || vot[rg] == me); MAKE; RESTORED; vot[rg] = me)
#else
	ACT("row: resume", (rs == CREATING || rs == RESTORING) && MYHOLD && !SOUND && IDLE, assert(!vot[rg] || vot[rg] == me); MAKE; RESTORED; vot[rg] = me)
#endif
	ACT("row: resume", rs == RESCUING && MYHOLD && OLD && !(note & me) && IDLE, assert(!vot[rg]); RESCUED)
	ACT("row: resume", BECOMING && MYHOLD && SOUND && MARKED && !(note & me) && OFF, START)
	SWAP(4, "confirm", BECOMING && MYHOLD && SOUND && (etcd & me), rs = RUNNING; ran = 1; hold = 0; hinc = 0; NOFORMERS; lost = lost & mem)

	/* --- own data --- */
#ifdef M7
	ACT("row: start", (SEEN & ~junk & me) && MARKED && OFF, START)
#else
	ACT("row: start", rs == RUNNING && SOUND && HERE && MARKED && !((lost | note | rpos) & me) && OFF
		&& LIVELY((ISIN & me) && (REACH || !QLOST)), START)
	ACT("stop", rs != NONE && RUNS && (!SOUND || !HERE || (BECOMING && !MYHOLD) || !(ISIN & me)), STOP)
#endif
	/* with an empty disk and an unknown record there is nothing to do (row: unknown) */
#ifndef KNOWN
	UNSURE("row: start unknown", (up & SEEN & ~junk & me) && MARKED && !(note & me) && OFF, START)
#endif
#ifdef H3
	SWAP(5, "row: moved volume", SOUND && (mem & me) && ((rinc ^ inc) & me) && !(LEAVING & me), SYNC(rinc); lost = lost & ~me; rpos = rpos & ~me)
#else
	SWAP(5, "row: moved volume", rs == RUNNING && SOUND && (mem & me) && ((rinc ^ inc) & me) && !(LEAVING & me), SYNC(rinc); lost = lost & ~me; rpos = rpos & ~me)
	SWAP(6, "row: moved volume", BECOMING && hold == me && (SOUND || (rs == RESCUING && OLD)) && ((rinc ^ inc) & me),
		SYNC(rinc); hinc = ((inc & me) != 0); lost = lost & ~me)
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
	ACT("row: set aside older", rs != NONE && OLD && IDLE && !(rs == RESCUING && (hold & me)) && !FORMER, WIPE(me))
	ACT("row: set aside removed", rs != NONE && IDLE && ((SOUND && (!(mem & me) || (LEAVING & GONE & me))) || (SEEN & junk & me)), WIPE(me))
	SWAP(8, "row: lost disk", rs != NONE && EMPTY && HERE && !(lost & me) && !((rs == CREATING || rs == RESTORING) && MYHOLD)
		&& LIVELY(!(ck == ADD && ct == me && MYCHANGE) || (rpos & me)) && NOTED, lost = lost | me)
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
	ACT("row: join", ck == ADD && ct == me && MYCHANGE && REACH && !(ISIN & me) && !lrn && !(padd & me) && EMPTY && !(rpos & me), padd = padd | me)
	ACT("row: join", ck == ADD && ct == me && MYCHANGE && REACH && (lrn & me) && EMPTY && !((lost | rpos) & me), MAKE; START)
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
	SWAP(15, "take over a change", ck && STUCK && !(ck == PROMOTE && (vot[rg] & ct)) && !(ck == REMOVE && MYCHANGE),
		lrnr = lrnr & ~(ck == PROMOTE -> ct : 0); ck = REMOVE; BYME) /* one that was being promoted may vote */
#endif
#ifdef H6
	SWAP(17, "end a promotion that was made", TAKEN && (vot[rg] & ct), lrnr = lrnr & ~ct; ENDCHANGE)
#else
	SWAP(17, "end a promotion that was made", ck == PROMOTE && STUCK && (vot[rg] & ct), lrnr = lrnr & ~ct; ENDCHANGE)
#endif
	SWAP(18, "remove another too", ck == REMOVE && MYCHANGE && REACH && (GONE & ~ct), ct = ct | LOW(GONE & ~ct))
#ifndef H7
	ACT("a learner that the record does not list", rs == RUNNING && EMPTY && REACH && (lrn & ~mem) && !(prem & lrn), prem = prem | (lrn & ~mem))
#endif

	/* --- no quorum --- */
	SWAP(19, "row: restore", EMPTY && rs == RUNNING && !(RV & ~GONE) && !(mem & ~GONE & ~me) && bk && rg < GENS, assert(!SURVIVES); LOSES(bwr); NEWGEN(RESTORING))
	ACT("row: position", rs == RUNNING && SOUND && HERE && (LEFT & me) && QLOST && !(note & me) && LIVELY(!REACH),
		STOP; note = note | me)
#define SURVIVOR (rs == RUNNING && IDLE && SOUND && HERE && (LEFT & me) && QLOST && LIVELY(!REACH))
	SWAP(20, "row: position", SURVIVOR && !(rpos & me) && (note & me), POSITION)
	SWAP(21, "row: rescue", SURVIVOR && !(LEFT & ~rpos) && BEST && rg < GENS, assert(!CANFORM(~rpos)); LOSES(KEPT); FORMERS; NEWGEN(RESCUING))

	/* --- etcd: a request under way is done when a quorum is there, however late --- */
	:: d_step { (padd & me) && REACH -> padd = padd & ~me; if :: !lrn -> lrn = lrn | me :: else fi; TELL("etcd: adds it") }
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
	/* torn data is a disk that died (row: set aside torn): nothing of it is started again */
	FAULT("the disk dies", (up & me) && (SEEN & me), STOP; WIPE(me))
#ifdef RETURN
	FAULT("terminated, its volume stays", ((up | halt) & me) && !(inc & me) && (SEEN & me), up = up & ~me; halt = halt & ~me; dead = dead | me; STOP; note = note & ~me)
	:: d_step { (dead & me) && !(inc & me) && (SEEN & me) -> dead = dead & ~me; up = up | me; inc = inc | me; note = note & ~me; NOTLATE; TELL("its volume on another instance") }
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
	|| (rs == RUNNING && !REACH && (mem & ~TRULYGONE & halt))           /* row: wait quorum, for one that is stopped */ \
	|| (BECOMING && (hold & halt))                                     /* row: wait holder, which is stopped */ \
	|| (rs == RESCUING && HOLDERGONE && (FLEFT & halt))                /* row: wait former, one that is stopped */ \
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
#ifdef SAMPLE
	:: c_expr { SHOWN } -> skip
#endif
	:: d_step { j < N LAUNCH -> up = up | BIT(j); j++; REACHED("launched") }
	:: d_step { rs == RUNNING && REACH && BACKUP -> BACKEDUP; REACHED("backed up") }
#ifdef VANISH
#define id N
	FAULT("the record is deleted", rs == RUNNING, rs = NONE; mem = 0; rinc = 0; lrnr = 0; lost = 0; NOPOSITIONS; NOFORMERS; ENDCHANGE)
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
