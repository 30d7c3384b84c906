/*
 * Packets of the storage service. There is no public specification: from Linux
 * drivers/scsi/storvsc_drv.c and OpenVMM's storvsp_protocol. Integers are little-endian.
 *
 *   0  u32  operation
 *   4  u32  flags
 *   8  u32  status, an NTSTATUS
 *  12       payload: 36 bytes before version 5.1, 52 from then on
 */
#ifndef VSP_STORVSP_WIRE_H
#define VSP_STORVSP_WIRE_H

enum {
    STORVSP_PACKET_LEAST = 48,
    STORVSP_PACKET = 64,

    STORVSP_AT_OPERATION = 0,
    STORVSP_AT_STATUS = 8,
    STORVSP_AT_PAYLOAD = 12,

    /* QUERY_PROTOCOL_VERSION */
    STORVSP_AT_VERSION = 12, /* u16: major << 8 | minor */

    /* CREATE_SUB_CHANNELS */
    STORVSP_AT_SUBCHANNELS = 12, /* u16 */

    /* QUERY_PROPERTIES, the answer */
    STORVSP_AT_MAX_SUBCHANNELS = 16, /* u16 */
    STORVSP_AT_PROPERTY_FLAGS = 20,  /* u32 */
    STORVSP_AT_MAX_TRANSFER = 24,    /* u32, bytes */
    STORVSP_MULTI_CHANNEL = 0x1,

    /* EXECUTE_SRB */
    STORVSP_AT_SRB_LENGTH = 12, /* u16 */
    STORVSP_AT_SRB_STATUS = 14,
    STORVSP_AT_SCSI_STATUS = 15,
    STORVSP_AT_PATH = 17,
    STORVSP_AT_TARGET = 18,
    STORVSP_AT_LUN = 19,
    STORVSP_AT_CDB_LENGTH = 20,
    STORVSP_AT_SENSE_LENGTH = 21,
    STORVSP_AT_DATA_IN = 22,
    STORVSP_AT_DATA_LENGTH = 24, /* u32 */
    STORVSP_AT_CDB = 28,         /* 16 bytes; in the answer 20 bytes of sense */
    STORVSP_SENSE_ROOM = 20,
    STORVSP_DATA_OUT = 0,
    STORVSP_DATA_IN = 1,
    STORVSP_DATA_NONE = 2,
};

enum storvsp_operation {
    STORVSP_COMPLETE_IO = 1,
    STORVSP_EXECUTE_SRB = 3,
    STORVSP_RESET_LUN = 4,
    STORVSP_RESET_ADAPTER = 5,
    STORVSP_RESET_BUS = 6,
    STORVSP_BEGIN_INITIALIZATION = 7,
    STORVSP_END_INITIALIZATION = 8,
    STORVSP_QUERY_PROTOCOL_VERSION = 9,
    STORVSP_QUERY_PROPERTIES = 10,
    STORVSP_ENUMERATE_BUS = 11,
    STORVSP_CREATE_SUB_CHANNELS = 13,
};

enum storvsp_version {
    STORVSP_VERSION_2_0 = 0x0200,
    STORVSP_VERSION_4_2 = 0x0402,
    STORVSP_VERSION_5_1 = 0x0501,
    STORVSP_VERSION_6_0 = 0x0600,
    STORVSP_VERSION_6_2 = 0x0602,
};

enum storvsp_srb_status {
    SRB_STATUS_SUCCESS = 0x01,
    SRB_STATUS_ERROR = 0x04,
    SRB_STATUS_BUSY = 0x05,
    SRB_STATUS_INVALID_REQUEST = 0x06,
    SRB_STATUS_INVALID_LUN = 0x20,
    SRB_STATUS_AUTOSENSE_VALID = 0x80,
};

/* NTSTATUS, MS-ERREF § 2.3. */
#define NT_SUCCESS               UINT32_C(0)
#define NT_DEVICE_BUSY           UINT32_C(0x80000011)
#define NT_INVALID_PARAMETER     UINT32_C(0xc000000d)
#define NT_REVISION_MISMATCH     UINT32_C(0xc0000059)
#define NT_DEVICE_DOES_NOT_EXIST UINT32_C(0xc00000c0)
#define NT_INVALID_DEVICE_STATE  UINT32_C(0xc0000184)
#define NT_IO_DEVICE_ERROR       UINT32_C(0xc0000185)

#endif
