/* A stand-in for libnvidia-ml.so.1, below the real Python binding: GPUs as a text file describes them.
 *
 * NVML_STUB_SCRIPT names the file; it is read again when it changes, so a test can lose a GPU or reset a counter
 * while somebody measures. One line per GPU, of key=value words:
 *
 *   uuid=GPU-0 power_w=350 step_ms=100 phase_ms=0 zero_ms=0 counter=1 lost=0 scope=gpu pids=12,34 mig=MIG-0,MIG-1
 *
 * The counter is power_w times the time since zero_ms (CLOCK_MONOTONIC, milliseconds), in steps of step_ms that happen
 * phase_ms after its multiples.
 * counter=0 leaves only power; scope=module only the module's power; a line `init_error=9` makes nvmlInit fail.
 * A program that has loaded the library may also drive it with a clock of its own: see nvml_stub_drive.
 * What is not here raises FunctionNotFound in the binding, as an old driver would.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, GPU_IS_LOST = 15 };
enum { MAX_GPUS = 16, MAX_PIDS = 16, MAX_SLICES = 8, WORD = 96 };
enum { FIELD_POWER_AVERAGE = 185, FIELD_POWER_INSTANT = 186, SCOPE_GPU = 0, SCOPE_MODULE = 1, UNSIGNED_INT = 1 };

typedef struct {
    char uuid[WORD];
    char slices[MAX_SLICES][WORD];
    int slice_count, counter, lost, module, pid_count;
    unsigned pids[MAX_PIDS];
    long long power_w, step_ms, zero_ms, phase_ms;
} Gpu;

typedef struct { Gpu *gpu; int slice; } Device;

typedef struct { unsigned pid; unsigned long long used_memory; unsigned gpu_instance, compute_instance; } Process;

typedef struct {
    unsigned field, scope;
    long long timestamp, latency_us;
    unsigned value_type, status;
    union { double d; unsigned ui; unsigned long ul; unsigned long long ull; long long ll; } value;
} Field;

static Gpu gpus[MAX_GPUS];
static Device devices[MAX_GPUS][MAX_SLICES + 1];
static int gpu_count, init_error;
static struct timespec script_time;

static long long now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static void read_word(Gpu *gpu, const char *key, char *value) {
    char *part;
    if (!strcmp(key, "uuid")) snprintf(gpu->uuid, WORD, "%s", value);
    else if (!strcmp(key, "power_w")) gpu->power_w = atoll(value);
    else if (!strcmp(key, "step_ms")) gpu->step_ms = atoll(value);
    else if (!strcmp(key, "zero_ms")) gpu->zero_ms = atoll(value);
    else if (!strcmp(key, "phase_ms")) gpu->phase_ms = atoll(value);
    else if (!strcmp(key, "counter")) gpu->counter = atoi(value);
    else if (!strcmp(key, "lost")) gpu->lost = atoi(value);
    else if (!strcmp(key, "scope")) gpu->module = !strcmp(value, "module");
    else if (!strcmp(key, "pids"))
        for (part = strtok(value, ","); part && gpu->pid_count < MAX_PIDS; part = strtok(NULL, ","))
            gpu->pids[gpu->pid_count++] = (unsigned)atoi(part);
    else if (!strcmp(key, "mig"))
        for (part = strtok(value, ","); part && gpu->slice_count < MAX_SLICES; part = strtok(NULL, ","))
            snprintf(gpu->slices[gpu->slice_count++], WORD, "%s", part);
}

static void read_line(char *line) {
    char *save, *word, *equals;
    if (!strncmp(line, "init_error=", 11)) { init_error = atoi(line + 11); return; }
    if (strncmp(line, "uuid=", 5) || gpu_count == MAX_GPUS) return;
    Gpu *gpu = &gpus[gpu_count];
    memset(gpu, 0, sizeof *gpu);
    gpu->counter = 1;
    gpu->step_ms = 100;
    for (word = strtok_r(line, " \n", &save); word; word = strtok_r(NULL, " \n", &save))
        if ((equals = strchr(word, '='))) { *equals = 0; read_word(gpu, word, equals + 1); }
    for (int slice = 0; slice <= MAX_SLICES; slice++) devices[gpu_count][slice] = (Device){gpu, slice - 1};
    gpu_count++;
}

static void read_script(void) {
    const char *path = getenv("NVML_STUB_SCRIPT");
    struct stat status;
    char line[1024];
    if (!path || stat(path, &status)) return;
    if (status.st_mtim.tv_sec == script_time.tv_sec && status.st_mtim.tv_nsec == script_time.tv_nsec) return;
    FILE *file = fopen(path, "r");
    if (!file) return;
    script_time = status.st_mtim;
    gpu_count = init_error = 0;
    while (fgets(line, sizeof line, file)) read_line(line);
    fclose(file);
}

/* From now on every GPU shows this counter and this power, whatever its line says; instantaneous power too. */
static struct { int on; unsigned long long energy_mj; unsigned power_mw; } driven;

void nvml_stub_drive(unsigned long long energy_mj, unsigned power_mw) {
    driven.on = 1;
    driven.energy_mj = energy_mj;
    driven.power_mw = power_mw;
}

static int check(Device *device) {
    read_script();
    return device->gpu->lost ? GPU_IS_LOST : SUCCESS;
}

int nvmlInitWithFlags(unsigned flags) { (void)flags; read_script(); return init_error; }

int nvmlShutdown(void) { return SUCCESS; }

const char *nvmlErrorString(int status) {
    switch (status) {
        case NOT_SUPPORTED: return "Not Supported";
        case NOT_FOUND: return "Not Found";
        case GPU_IS_LOST: return "GPU is lost";
        case 9: return "Driver Not Loaded";
        case 18: return "Driver/library version mismatch";
        default: return "Unknown Error";
    }
}

int nvmlDeviceGetCount_v2(unsigned *count) { read_script(); *count = (unsigned)gpu_count; return SUCCESS; }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, Device **device) {
    read_script();
    if (index >= (unsigned)gpu_count) return INVALID_ARGUMENT;
    *device = &devices[index][0];
    return check(*device);
}

int nvmlDeviceGetHandleByUUID(const char *uuid, Device **device) {
    read_script();
    for (int index = 0; index < gpu_count; index++) {
        Gpu *gpu = &gpus[index];
        if (!strcmp(gpu->uuid, uuid)) { *device = &devices[index][0]; return check(*device); }
        for (int slice = 0; slice < gpu->slice_count; slice++)
            if (!strcmp(gpu->slices[slice], uuid)) { *device = &devices[index][slice + 1]; return check(*device); }
    }
    return NOT_FOUND;
}

int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(Device *slice, Device **device) {
    *device = slice - (slice->slice + 1);
    return check(slice);
}

int nvmlDeviceGetUUID(Device *device, char *uuid, unsigned length) {
    int status = check(device);
    snprintf(uuid, length, "%s", device->slice < 0 ? device->gpu->uuid : device->gpu->slices[device->slice]);
    return status;
}

int nvmlDeviceGetName(Device *device, char *name, unsigned length) {
    snprintf(name, length, "NVIDIA Stub 80GB");
    return check(device);
}

int nvmlDeviceGetTotalEnergyConsumption(Device *device, unsigned long long *energy_mj) {
    int status = check(device);
    Gpu *gpu = device->gpu;
    if (status) return status;
    if (!gpu->counter) return NOT_SUPPORTED;
    if (driven.on) { *energy_mj = driven.energy_mj; return SUCCESS; }
    long long at_ms = now_ms();
    at_ms -= (at_ms - gpu->phase_ms) % gpu->step_ms;
    *energy_mj = at_ms > gpu->zero_ms ? (unsigned long long)(gpu->power_w * (at_ms - gpu->zero_ms)) : 0;
    return SUCCESS;
}

int nvmlDeviceGetPowerUsage(Device *device, unsigned *power_mw) {
    int status = check(device);
    if (status) return status;
    if (device->gpu->module) return NOT_SUPPORTED;
    *power_mw = (unsigned)(device->gpu->power_w * 1000);
    return SUCCESS;
}

int nvmlDeviceGetFieldValues(Device *device, int count, Field *fields) {
    int status = check(device);
    if (status) return status;
    for (int index = 0; index < count; index++) {
        Field *field = &fields[index];
        int known = (field->field == FIELD_POWER_AVERAGE || (driven.on && field->field == FIELD_POWER_INSTANT))
                    && field->scope == (unsigned)(device->gpu->module ? SCOPE_MODULE : SCOPE_GPU);
        field->status = known ? SUCCESS : NOT_SUPPORTED;
        field->value_type = UNSIGNED_INT;
        field->value.ui = driven.on ? driven.power_mw : (unsigned)(device->gpu->power_w * 1000);
    }
    return SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses_v3(Device *device, unsigned *count, Process *processes) {
    int status = check(device);
    Gpu *gpu = device->gpu;
    if (status) return status;
    if (gpu->pid_count && (!processes || *count < (unsigned)gpu->pid_count)) {
        *count = (unsigned)gpu->pid_count;
        return INSUFFICIENT_SIZE;
    }
    for (int index = 0; index < gpu->pid_count; index++) processes[index] = (Process){.pid = gpu->pids[index]};
    *count = (unsigned)gpu->pid_count;
    return SUCCESS;
}
