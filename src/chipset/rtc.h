/*
 * MC146818A real-time clock and 128 bytes of CMOS memory at ports 0x70 and 0x71.
 *
 * The date is the host's wall clock plus an offset that the guest sets by writing a date. The
 * offset outlives a reset, as the battery would keep it.
 */
#ifndef CHIPSET_RTC_H
#define CHIPSET_RTC_H

#include "chipset/device.h"

struct rtc;

/* `host` must outlive the device; its clocks and CHIPSET_TIMER_RTC are used. Memory in bytes. */
int rtc_create(const struct chipset_host *host, const struct line *line, uint64_t memory_below_4g,
               struct rtc **ret);
void rtc_destroy(struct rtc *rtc);
void rtc_reset(struct rtc *rtc);
int rtc_visit_state(struct rtc *rtc, struct state_visitor *visitor);
int rtc_attach(struct rtc *rtc, struct bus *bus);
void rtc_timer_expired(struct rtc *rtc);

#endif
