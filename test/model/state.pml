/*
 * What there is, what can be observed of it, and what changes it: the ground of lineage.pml.
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
byte dat[5];             /* the volume holds sound data of that generation */
byte junk;               /* the volume holds data of a member that etcd removed: its id never comes back */
byte hid;                /* the data is there, but the node does not see it: the volume is not attached yet */
byte mk;                 /* the marker names the second instance */
byte note;               /* the node noted that it reports its data lost, or gives its position: it does not start again without a swap */
/* the record */
byte rs, rg, mem, lrnr, lost, rinc, rpos, hold, ck, ct, cb;
bool hinc, cbinc;
byte fmr, finc, fg;      /* who gave a position before the rescue that is under way, on which instance, and in which generation */
/* etcd: the true voters of each generation; learners and requests under way of the newest */
byte vot[5], lrn, padd, pprm, prem;
bool ran, bk, known;     /* the cluster served once; a backup exists; the record existed once */
#ifdef LOG
byte wr, rwr, fwr;       /* who has the one write; whose recorded position has it, and whose before a rescue */
bool acked, bwr, keep;   /* a majority had it; the backup has it */
#endif
#ifdef LATE
byte late[4];            /* the swap of each volume's master that may still land */
#endif
#ifdef FAULTS
byte faults;
#endif
#ifdef LIVE
bool misled;             /* the next step of a master goes by a stale answer, a failed ping or an unknown record */
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
/* who was left when a rescue began, is still, and has its data */
#define FLEFT (fmr & ~(dead | (finc ^ inc) | lost))
#define FORMER (rs == RESCUING && hold != me && (fmr & ~lost & dat[fg] & ~hid & me))
#define ISIN (vot[rg] | lrn)
#define CANACK(g) (vot[g] && MAJ(etcd & dat[g], vot[g]))
#define REACH (CANACK(rg))
/* voters by the record; the target of a promotion may be one or not */
#ifdef M4
#define RV (mem & ~lrnr)
#else
#define RV ((mem & ~lrnr) | (ck == PROMOTE -> ct : 0))
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
/* an older generation whose data cannot form a majority any more never will: such data only grows less */
#define CLEAN(g) if :: g < rg && !MAJ(dat[g], vot[g]) -> vot[g] = 0 :: else fi
#ifdef LOG
#define FORGET(m) wr = wr & ~(m)
#define NOPOSITIONS rpos = 0; rwr = 0
#define UNPOSITION rpos = rpos & ~me; rwr = rwr & ~me
#define POSITION rpos = rpos | me; rwr = (rwr & ~me) | (wr & me)
#define LOSES(kept) assert(!acked || (kept) || !(wr & vot[rg] & dat[rg] & ~TRULYGONE)); acked = (acked && (kept))
#define FLOSES(kept) assert(!acked || (kept) || !(wr & FLEFT & dat[fg]))
/* own data, or a backup that reaches farther */
#define RESCUED vot[rg] = me; keep = ((wr & me) || bwr); MAKE; wr = (keep -> me : 0); keep = 0
#define FORMERS fmr = LEFT; finc = rinc & LEFT; fg = rg; fwr = rwr & LEFT
#define FEWER fmr = fmr & ~lost; finc = finc & fmr; fwr = fwr & fmr
#define FBEST ((fwr & me) || !(fwr & FLEFT))
#define KEPT ((wr & me) || bwr)
#define NOFORMERS fmr = 0; finc = 0; fg = 0; fwr = 0
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
#define FLOSES(kept) skip
#define RESCUED MAKE; vot[rg] = me
#define FORMERS fmr = LEFT; finc = rinc & LEFT; fg = rg
#define FEWER fmr = fmr & ~lost; finc = finc & fmr
#define FBEST true
#define KEPT true
#define NOFORMERS fmr = 0; finc = 0; fg = 0
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
