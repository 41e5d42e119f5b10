/* Prints the frequency of this processor's time-stamp counter, in kHz. An emulated machine has the same counter, but an emulated timer
 * to measure it by: under load, kernels found a sixth of it there, and time went six times as fast. */
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_RAW, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

int main(void) {
    struct timespec pause = {0, 200000000};
    double begin = seconds();
    unsigned long long first = __rdtsc();
    nanosleep(&pause, NULL);
    double end = seconds();
    unsigned long long last = __rdtsc();
    printf("%.0f\n", (last - first) / (end - begin) / 1000);
    return 0;
}
