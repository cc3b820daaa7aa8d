/* Wine before 9 has no bcryptprimitives.dll, of which Rust's standard library takes this function. It
 * stands beside the program only where Wine runs it. */
#include <windows.h>

BOOLEAN NTAPI SystemFunction036(PVOID, ULONG);

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T length)
{
	return SystemFunction036(data, (ULONG)length);
}
