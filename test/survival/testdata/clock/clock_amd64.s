#include "textflag.h"

// shifted is clock_gettime(2) with a wall clock that is off. The runtime calls it as C does: the clock's number is in DI, and SI
// says where the time goes.
TEXT ·shifted(SB), NOSPLIT|NOFRAME, $0
	MOVL $228, AX // clock_gettime
	SYSCALL
	TESTL DI, DI  // CLOCK_REALTIME is 0
	JNZ  done
	MOVQ ·offset(SB), CX
	ADDQ CX, (SI)
done:
	RET

// func install()
TEXT ·install(SB), NOSPLIT, $0
	LEAQ ·shifted(SB), AX
	MOVQ AX, runtime·vdsoClockgettimeSym(SB)
	RET
