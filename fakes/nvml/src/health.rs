//! ECC, field values and fabric: what health checks ask for.

use std::ffi::{c_int, c_uint, c_ulonglong};

use fake_gpu::{Gpu, Node};
use nvml_wrapper_sys::bindings::field_id;
use nvml_wrapper_sys::bindings::{
    NVML_GPU_FABRIC_STATE_COMPLETED as FABRIC_COMPLETED,
    NVML_GPU_FABRIC_STATE_IN_PROGRESS as FABRIC_IN_PROGRESS, nvmlDevice_t, nvmlEccCounterType_t,
    nvmlEnableState_t, nvmlFieldValue_t, nvmlGpuFabricInfo_t, nvmlGpuFabricInfoV_t, nvmlGpuFabricState_t,
    nvmlMemoryErrorType_t, nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT as INVALID_ARGUMENT,
    nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED as NOT_SUPPORTED, nvmlReturn_enum_NVML_SUCCESS as SUCCESS,
    nvmlValue_t, nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_INT as UNSIGNED_INT,
    nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_LONG_LONG as UNSIGNED_LONG_LONG,
};

use crate::call::{Answer, export, get, put};
use crate::session::with_gpu;

/// Most field values of one call.
const FIELDS_MAX: usize = 256;

export! {
    /// Whether ECC is on now and after the next reset.
    fn nvmlDeviceGetEccMode(
        device: nvmlDevice_t, current: *mut nvmlEnableState_t, pending: *mut nvmlEnableState_t,
    ) {
        with_gpu(device, |_, gpu| {
            put(current, gpu.board.ecc)?;
            put(pending, gpu.board.ecc)
        })
    }
}

export! {
    /// ECC errors: corrected (0) or uncorrected (1). Volatile and aggregate counters are the same here.
    fn nvmlDeviceGetTotalEccErrors(
        device: nvmlDevice_t, error: nvmlMemoryErrorType_t, _counter: nvmlEccCounterType_t,
        count: *mut c_ulonglong,
    ) {
        with_gpu(device, |_, gpu| {
            let errors = gpu.ecc_errors.get(error as usize).ok_or(INVALID_ARGUMENT)?;
            put(count, c_ulonglong::from(*errors))
        })
    }
}

export! {
    /// Remapped rows: boards with HBM have the counters, all zero here.
    fn nvmlDeviceGetRemappedRows(
        device: nvmlDevice_t, corrected: *mut c_uint, uncorrected: *mut c_uint, pending: *mut c_uint,
        failed: *mut c_uint,
    ) {
        with_gpu(device, |_, gpu| {
            if gpu.board.mig_devices_max == 0 {
                return Err(NOT_SUPPORTED);
            }
            [corrected, uncorrected, pending, failed].into_iter().try_for_each(|place| put(place, 0))
        })
    }
}

export! {
    /// Field values: those of the ECC counters and the recovery action; each other one says "not supported".
    fn nvmlDeviceGetFieldValues(device: nvmlDevice_t, count: c_int, values: *mut nvmlFieldValue_t) {
        let count = usize::try_from(count).map_err(|_| INVALID_ARGUMENT)?;
        if count == 0 || count > FIELDS_MAX || values.is_null() {
            return Err(INVALID_ARGUMENT);
        }
        with_gpu(device, |_, gpu| {
            for index in 0..count {
                // SAFETY: not null, and NVML's contract gives `count` values.
                let place = unsafe { values.add(index) };
                put(place, answered(gpu, get(place.cast_const())?))?;
            }
            Ok(())
        })
    }
}

fn answered(gpu: &Gpu, mut field: nvmlFieldValue_t) -> nvmlFieldValue_t {
    let number = |value: u64| (SUCCESS, UNSIGNED_LONG_LONG, nvmlValue_t { ullVal: value });
    let (code, kind, value) = match field.fieldId {
        field_id::NVML_FI_DEV_ECC_CURRENT | field_id::NVML_FI_DEV_ECC_PENDING => {
            (SUCCESS, UNSIGNED_INT, nvmlValue_t { uiVal: gpu.board.ecc })
        }
        field_id::NVML_FI_DEV_ECC_SBE_VOL_TOTAL | field_id::NVML_FI_DEV_ECC_SBE_AGG_TOTAL => {
            number(u64::from(gpu.ecc_errors[0]))
        }
        field_id::NVML_FI_DEV_ECC_DBE_VOL_TOTAL | field_id::NVML_FI_DEV_ECC_DBE_AGG_TOTAL => {
            number(u64::from(gpu.ecc_errors[1]))
        }
        // 0: no recovery needed.
        field_id::NVML_FI_DEV_GET_GPU_RECOVERY_ACTION => (SUCCESS, UNSIGNED_INT, nvmlValue_t { uiVal: 0 }),
        _ => (NOT_SUPPORTED, UNSIGNED_INT, nvmlValue_t { ullVal: 0 }),
    };
    field.nvmlReturn = code;
    field.valueType = kind;
    field.value = value;
    field
}

export! {
    /// NVLink fabric: boards that are attached to one tell whether it is complete.
    fn nvmlDeviceGetGpuFabricInfo(device: nvmlDevice_t, info: *mut nvmlGpuFabricInfo_t) {
        with_gpu(device, |node, gpu| {
            let state = fabric_state(node, gpu)?;
            put(info, nvmlGpuFabricInfo_t { clusterUuid: [0; 16], status: SUCCESS, cliqueId: 0, state })
        })
    }
}

fn fabric_state(node: &Node, gpu: &Gpu) -> Answer<nvmlGpuFabricState_t> {
    let state = match (gpu.board.fabric, node.fabric_starting) {
        (0, _) => return Err(NOT_SUPPORTED),
        (_, 0) => FABRIC_COMPLETED,
        _ => FABRIC_IN_PROGRESS,
    };
    nvmlGpuFabricState_t::try_from(state).map_err(|_| INVALID_ARGUMENT)
}

export! {
    /// NVLink fabric, versioned: its newer structs are not served, as by a driver that does not know them.
    fn nvmlDeviceGetGpuFabricInfoV(device: nvmlDevice_t, _info: *mut nvmlGpuFabricInfoV_t) {
        with_gpu(device, |_, _| Err(NOT_SUPPORTED))
    }
}
