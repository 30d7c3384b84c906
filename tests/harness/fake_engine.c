#include "tests/harness/fake_engine.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct engine_partition {
    struct engine_config config;
    unsigned life;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct engine_vcpu *vcpus[ENGINE_MAX_VCPUS];
    uint8_t *overlay; /* what map() was last given */
};

struct engine_vcpu {
    struct engine_registers registers;
    struct engine_partition *partition;
    struct fake_vcpu fake;
    bool kicked, interrupted; /* the partition's lock */
};

static struct fake_program loaded;
static struct fake_counts counts;

void fake_engine_load(const struct fake_program *program)
{
    loaded = *program;
    memset(&counts, 0, sizeof(counts));
}

const struct fake_counts *fake_engine_counts(void)
{
    return &counts;
}

static int partition_create(const struct engine_config *config, struct engine_partition **ret,
                            struct reason *reason)
{
    unsigned life = atomic_fetch_add(&counts.partitions, 1);

    if (life + 1 == loaded.refuse_partition)
        return reason_set(reason, -EBUSY, "the fake engine refuses partition %u", life + 1);
    struct engine_partition *partition = calloc(1, sizeof(*partition));
    if (partition == NULL)
        return reason_set(reason, -ENOMEM, "out of memory");
    partition->config = *config;
    partition->life = life;
    (void)pthread_mutex_init(&partition->lock, NULL);
    (void)pthread_cond_init(&partition->changed, NULL);
    *ret = partition;
    return 0;
}

static void partition_destroy(struct engine_partition *partition)
{
    (void)pthread_cond_destroy(&partition->changed);
    (void)pthread_mutex_destroy(&partition->lock);
    free(partition);
}

static int map(struct engine_partition *partition, uint64_t gpa, uint64_t size, uint8_t *host,
               bool writable)
{
    (void)gpa;
    (void)size;
    (void)writable;
    partition->overlay = host;
    return 0;
}

static int unmap(struct engine_partition *partition, uint64_t gpa, uint64_t size)
{
    (void)gpa;
    (void)size;
    partition->overlay = NULL;
    return 0;
}

/* Its processors write nothing by themselves. */
static int take_dirty(struct engine_partition *partition, uint64_t gpa, uint64_t pages,
                      uint64_t *bitmap)
{
    (void)partition;
    (void)gpa;
    memset(bitmap, 0, (pages + 63) / 64 * sizeof(*bitmap));
    return 0;
}

static int interrupt(struct engine_partition *partition, const struct engine_interrupt *message)
{
    (void)message;
    atomic_fetch_add(&counts.interrupts, 1);
    (void)pthread_mutex_lock(&partition->lock);
    for (unsigned i = 0; i < partition->config.vcpu_count; i++) {
        if (partition->vcpus[i] != NULL)
            partition->vcpus[i]->interrupted = true;
    }
    (void)pthread_cond_broadcast(&partition->changed);
    (void)pthread_mutex_unlock(&partition->lock);
    return 0;
}

static int vcpu_create(struct engine_partition *partition, unsigned index, struct engine_vcpu **ret,
                       struct reason *reason)
{
    struct engine_vcpu *vcpu = aligned_alloc(_Alignof(struct engine_vcpu), sizeof(*vcpu));
    if (vcpu == NULL)
        return reason_set(reason, -ENOMEM, "out of memory");
    memset(vcpu, 0, sizeof(*vcpu));
    vcpu->partition = partition;
    vcpu->fake = (struct fake_vcpu){
        .index = index,
        .life = partition->life,
        .registers = &vcpu->registers,
        .owner = loaded.owner,
    };
    partition->vcpus[index] = vcpu;
    atomic_fetch_add(&counts.vcpus, 1);
    atomic_fetch_add(&counts.alive, 1);
    *ret = vcpu;
    return 0;
}

static void vcpu_destroy(struct engine_vcpu *vcpu)
{
    vcpu->partition->vcpus[vcpu->fake.index] = NULL;
    atomic_fetch_sub(&counts.alive, 1);
    free(vcpu);
}

/* True when it was kicked; else, with `wait`, once an interrupt came. */
static bool take_kick(struct engine_vcpu *vcpu, bool wait)
{
    struct engine_partition *partition = vcpu->partition;

    (void)pthread_mutex_lock(&partition->lock);
    while (wait && !vcpu->kicked && !vcpu->interrupted)
        (void)pthread_cond_wait(&partition->changed, &partition->lock);
    bool kicked = vcpu->kicked;
    vcpu->kicked = false;
    if (wait)
        vcpu->interrupted = false;
    (void)pthread_mutex_unlock(&partition->lock);
    return kicked;
}

static int run(struct engine_vcpu *vcpu, struct engine_exit *exit)
{
    bool halted = false;

    for (;;) {
        if (take_kick(vcpu, halted)) {
            exit->kind = ENGINE_EXIT_KICKED;
            return 0;
        }
        enum fake_action action = loaded.step(&vcpu->fake, exit);
        vcpu->fake.step++;
        if (action == FAKE_BREAK)
            return -EIO;
        if (action == FAKE_EXIT)
            return 0;
        halted = true;
    }
}

static void kick(struct engine_vcpu *vcpu)
{
    struct engine_partition *partition = vcpu->partition;

    atomic_fetch_add(&counts.kicks, 1);
    (void)pthread_mutex_lock(&partition->lock);
    vcpu->kicked = true;
    (void)pthread_cond_broadcast(&partition->changed);
    (void)pthread_mutex_unlock(&partition->lock);
}

static int get(struct engine_vcpu *vcpu, struct engine_registers *ret)
{
    *ret = vcpu->registers;
    return 0;
}

static int set(struct engine_vcpu *vcpu, const struct engine_registers *registers)
{
    atomic_fetch_add(&counts.sets, 1);
    vcpu->registers = *registers;
    return 0;
}

static int raise_event(struct engine_vcpu *vcpu, const struct engine_event *event)
{
    if (event->kind == ENGINE_EVENT_EXTINT_LINE) {
        atomic_fetch_add(&counts.extint_lines, 1);
        return 0;
    }
    if (event->kind == ENGINE_EVENT_EXTINT_VECTOR)
        atomic_fetch_add(&counts.extint_vectors, 1);
    vcpu->fake.last_event = *event;
    return 0;
}

static int visit_state(struct engine_vcpu *vcpu, struct state_visitor *visitor)
{
    (void)vcpu;
    (void)visitor;
    return -EOPNOTSUPP;
}

/* Its APIC refuses everything but the task priority, which is a number that is kept. */
static int apic(struct engine_vcpu *vcpu, enum engine_apic_register which, bool write,
                uint64_t *value)
{
    if (which != ENGINE_APIC_TPR)
        return -EINVAL;
    if (write)
        vcpu->registers.cr8 = *value;
    else
        *value = vcpu->registers.cr8;
    return 0;
}

static void flush_tlb(struct engine_partition *partition, uint64_t vcpu_set)
{
    (void)partition;
    atomic_fetch_add(&counts.flushes, (unsigned)__builtin_popcountll(vcpu_set));
}

const struct engine_ops fake_engine = {
    .name = "fake",
    .partition_create = partition_create,
    .partition_destroy = partition_destroy,
    .map = map,
    .unmap = unmap,
    .take_dirty = take_dirty,
    .interrupt = interrupt,
    .vcpu_create = vcpu_create,
    .vcpu_destroy = vcpu_destroy,
    .run = run,
    .kick = kick,
    .get = get,
    .set = set,
    .raise = raise_event,
    .visit_state = visit_state,
    .apic = apic,
    .flush_tlb = flush_tlb,
};
