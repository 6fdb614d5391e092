//! Proves at compile time that every export has the signature NVML's bindings expect.
//!
//! Each function assigns one module's exports to the fields that a program would load them into. None
//! is ever called: a wrong signature does not compile.
#![expect(dead_code, reason = "it is compiled, not run")]

use nvml_wrapper_sys::bindings::NvmlLib;

fn board(library: &mut NvmlLib) {
    use crate::board as exports;
    library.nvmlDeviceGetUtilizationRates = Ok(exports::nvmlDeviceGetUtilizationRates);
    library.nvmlDeviceGetTemperature = Ok(exports::nvmlDeviceGetTemperature);
    library.nvmlDeviceGetTemperatureThreshold = Ok(exports::nvmlDeviceGetTemperatureThreshold);
    library.nvmlDeviceGetPowerUsage = Ok(exports::nvmlDeviceGetPowerUsage);
    library.nvmlDeviceGetPowerManagementLimit = Ok(exports::nvmlDeviceGetPowerManagementLimit);
    library.nvmlDeviceGetPowerManagementDefaultLimit = Ok(exports::nvmlDeviceGetPowerManagementDefaultLimit);
    library.nvmlDeviceGetEnforcedPowerLimit = Ok(exports::nvmlDeviceGetEnforcedPowerLimit);
    library.nvmlDeviceGetPersistenceMode = Ok(exports::nvmlDeviceGetPersistenceMode);
    library.nvmlDeviceGetPerformanceState = Ok(exports::nvmlDeviceGetPerformanceState);
    library.nvmlDeviceGetClockInfo = Ok(exports::nvmlDeviceGetClockInfo);
    library.nvmlDeviceGetMaxClockInfo = Ok(exports::nvmlDeviceGetMaxClockInfo);
    library.nvmlDeviceGetCurrPcieLinkGeneration = Ok(exports::nvmlDeviceGetCurrPcieLinkGeneration);
    library.nvmlDeviceGetMaxPcieLinkGeneration = Ok(exports::nvmlDeviceGetMaxPcieLinkGeneration);
    library.nvmlDeviceGetCurrPcieLinkWidth = Ok(exports::nvmlDeviceGetCurrPcieLinkWidth);
    library.nvmlDeviceGetMaxPcieLinkWidth = Ok(exports::nvmlDeviceGetMaxPcieLinkWidth);
}

fn compute(library: &mut NvmlLib) {
    use crate::compute as exports;
    library.nvmlDeviceGetComputeMode = Ok(exports::nvmlDeviceGetComputeMode);
    library.nvmlDeviceSetComputeMode = Ok(exports::nvmlDeviceSetComputeMode);
    library.nvmlDeviceGetComputeRunningProcesses_v3 = Ok(exports::nvmlDeviceGetComputeRunningProcesses_v3);
    library.nvmlDeviceGetMPSComputeRunningProcesses_v3 =
        Ok(exports::nvmlDeviceGetMPSComputeRunningProcesses_v3);
    library.nvmlDeviceGetGraphicsRunningProcesses_v3 = Ok(exports::nvmlDeviceGetGraphicsRunningProcesses_v3);
}

fn events(library: &mut NvmlLib) {
    use crate::events as exports;
    library.nvmlEventSetCreate = Ok(exports::nvmlEventSetCreate);
    library.nvmlEventSetFree = Ok(exports::nvmlEventSetFree);
    library.nvmlDeviceGetSupportedEventTypes = Ok(exports::nvmlDeviceGetSupportedEventTypes);
    library.nvmlDeviceRegisterEvents = Ok(exports::nvmlDeviceRegisterEvents);
    library.nvmlEventSetWait_v2 = Ok(exports::nvmlEventSetWait_v2);
}

fn handle(library: &mut NvmlLib) {
    use crate::handle as exports;
    library.nvmlDeviceGetCount_v2 = Ok(exports::nvmlDeviceGetCount_v2);
    library.nvmlDeviceGetHandleByIndex_v2 = Ok(exports::nvmlDeviceGetHandleByIndex_v2);
    library.nvmlDeviceGetHandleByUUID = Ok(exports::nvmlDeviceGetHandleByUUID);
    library.nvmlDeviceGetHandleByPciBusId_v2 = Ok(exports::nvmlDeviceGetHandleByPciBusId_v2);
    library.nvmlDeviceGetHandleBySerial = Ok(exports::nvmlDeviceGetHandleBySerial);
}

fn health(library: &mut NvmlLib) {
    use crate::health as exports;
    library.nvmlDeviceGetEccMode = Ok(exports::nvmlDeviceGetEccMode);
    library.nvmlDeviceGetTotalEccErrors = Ok(exports::nvmlDeviceGetTotalEccErrors);
    library.nvmlDeviceGetRemappedRows = Ok(exports::nvmlDeviceGetRemappedRows);
    library.nvmlDeviceGetFieldValues = Ok(exports::nvmlDeviceGetFieldValues);
    library.nvmlDeviceGetGpuFabricInfo = Ok(exports::nvmlDeviceGetGpuFabricInfo);
    library.nvmlDeviceGetGpuFabricInfoV = Ok(exports::nvmlDeviceGetGpuFabricInfoV);
}

fn identity(library: &mut NvmlLib) {
    use crate::identity as exports;
    library.nvmlDeviceGetName = Ok(exports::nvmlDeviceGetName);
    library.nvmlDeviceGetUUID = Ok(exports::nvmlDeviceGetUUID);
    library.nvmlDeviceGetSerial = Ok(exports::nvmlDeviceGetSerial);
    library.nvmlDeviceGetIndex = Ok(exports::nvmlDeviceGetIndex);
    library.nvmlDeviceGetMinorNumber = Ok(exports::nvmlDeviceGetMinorNumber);
    library.nvmlDeviceGetPciInfo_v3 = Ok(exports::nvmlDeviceGetPciInfo_v3);
    library.nvmlDeviceGetCudaComputeCapability = Ok(exports::nvmlDeviceGetCudaComputeCapability);
    library.nvmlDeviceGetBrand = Ok(exports::nvmlDeviceGetBrand);
    library.nvmlDeviceGetArchitecture = Ok(exports::nvmlDeviceGetArchitecture);
    library.nvmlDeviceGetVbiosVersion = Ok(exports::nvmlDeviceGetVbiosVersion);
    library.nvmlDeviceGetBoardPartNumber = Ok(exports::nvmlDeviceGetBoardPartNumber);
    library.nvmlDeviceGetBoardId = Ok(exports::nvmlDeviceGetBoardId);
    library.nvmlDeviceGetMultiGpuBoard = Ok(exports::nvmlDeviceGetMultiGpuBoard);
}

fn memory(library: &mut NvmlLib) {
    use crate::memory as exports;
    library.nvmlDeviceGetMemoryInfo = Ok(exports::nvmlDeviceGetMemoryInfo);
    library.nvmlDeviceGetMemoryInfo_v2 = Ok(exports::nvmlDeviceGetMemoryInfo_v2);
    library.nvmlDeviceGetBAR1MemoryInfo = Ok(exports::nvmlDeviceGetBAR1MemoryInfo);
}

fn mig(library: &mut NvmlLib) {
    use crate::mig as exports;
    library.nvmlDeviceSetMigMode = Ok(exports::nvmlDeviceSetMigMode);
    library.nvmlDeviceGetMigMode = Ok(exports::nvmlDeviceGetMigMode);
    library.nvmlDeviceGetMaxMigDeviceCount = Ok(exports::nvmlDeviceGetMaxMigDeviceCount);
    library.nvmlDeviceIsMigDeviceHandle = Ok(exports::nvmlDeviceIsMigDeviceHandle);
    library.nvmlDeviceGetMigDeviceHandleByIndex = Ok(exports::nvmlDeviceGetMigDeviceHandleByIndex);
    library.nvmlDeviceGetDeviceHandleFromMigDeviceHandle =
        Ok(exports::nvmlDeviceGetDeviceHandleFromMigDeviceHandle);
    library.nvmlDeviceGetGpuInstanceId = Ok(exports::nvmlDeviceGetGpuInstanceId);
    library.nvmlDeviceGetComputeInstanceId = Ok(exports::nvmlDeviceGetComputeInstanceId);
    library.nvmlDeviceGetAttributes_v2 = Ok(exports::nvmlDeviceGetAttributes_v2);
}

fn instances(library: &mut NvmlLib) {
    use crate::instances as exports;
    library.nvmlDeviceGetGpuInstanceProfileInfo = Ok(exports::nvmlDeviceGetGpuInstanceProfileInfo);
    library.nvmlDeviceGetGpuInstanceProfileInfoV = Ok(exports::nvmlDeviceGetGpuInstanceProfileInfoV);
    library.nvmlDeviceGetGpuInstanceProfileInfoByIdV = Ok(exports::nvmlDeviceGetGpuInstanceProfileInfoByIdV);
    library.nvmlDeviceGetGpuInstancePossiblePlacements_v2 =
        Ok(exports::nvmlDeviceGetGpuInstancePossiblePlacements_v2);
    library.nvmlDeviceGetGpuInstanceRemainingCapacity =
        Ok(exports::nvmlDeviceGetGpuInstanceRemainingCapacity);
    library.nvmlDeviceGetGpuInstances = Ok(exports::nvmlDeviceGetGpuInstances);
    library.nvmlDeviceGetGpuInstanceById = Ok(exports::nvmlDeviceGetGpuInstanceById);
    library.nvmlGpuInstanceGetInfo = Ok(exports::nvmlGpuInstanceGetInfo);
}

fn compute_instances(library: &mut NvmlLib) {
    use crate::compute_instances as exports;
    library.nvmlGpuInstanceGetComputeInstanceProfileInfo =
        Ok(exports::nvmlGpuInstanceGetComputeInstanceProfileInfo);
    library.nvmlGpuInstanceGetComputeInstanceProfileInfoV =
        Ok(exports::nvmlGpuInstanceGetComputeInstanceProfileInfoV);
    library.nvmlGpuInstanceGetComputeInstances = Ok(exports::nvmlGpuInstanceGetComputeInstances);
    library.nvmlGpuInstanceGetComputeInstanceById = Ok(exports::nvmlGpuInstanceGetComputeInstanceById);
    library.nvmlComputeInstanceGetInfo_v2 = Ok(exports::nvmlComputeInstanceGetInfo_v2);
}

fn system(library: &mut NvmlLib) {
    use crate::system as exports;
    library.nvmlInit_v2 = Ok(exports::nvmlInit_v2);
    library.nvmlInitWithFlags = Ok(exports::nvmlInitWithFlags);
    library.nvmlShutdown = Ok(exports::nvmlShutdown);
    library.nvmlErrorString = Ok(exports::nvmlErrorString);
    library.nvmlSystemGetDriverVersion = Ok(exports::nvmlSystemGetDriverVersion);
    library.nvmlSystemGetNVMLVersion = Ok(exports::nvmlSystemGetNVMLVersion);
    library.nvmlSystemGetCudaDriverVersion = Ok(exports::nvmlSystemGetCudaDriverVersion);
    library.nvmlSystemGetCudaDriverVersion_v2 = Ok(exports::nvmlSystemGetCudaDriverVersion_v2);
    library.nvmlSystemGetProcessName = Ok(exports::nvmlSystemGetProcessName);
}

fn topology(library: &mut NvmlLib) {
    use crate::topology as exports;
    library.nvmlDeviceGetNumaNodeId = Ok(exports::nvmlDeviceGetNumaNodeId);
    library.nvmlDeviceGetMemoryAffinity = Ok(exports::nvmlDeviceGetMemoryAffinity);
    library.nvmlDeviceGetCpuAffinity = Ok(exports::nvmlDeviceGetCpuAffinity);
    library.nvmlDeviceGetCpuAffinityWithinScope = Ok(exports::nvmlDeviceGetCpuAffinityWithinScope);
    library.nvmlDeviceGetTopologyCommonAncestor = Ok(exports::nvmlDeviceGetTopologyCommonAncestor);
    library.nvmlDeviceOnSameBoard = Ok(exports::nvmlDeviceOnSameBoard);
    library.nvmlDeviceGetP2PStatus = Ok(exports::nvmlDeviceGetP2PStatus);
}

fn nvlink(library: &mut NvmlLib) {
    use crate::nvlink as exports;
    library.nvmlDeviceGetNvLinkState = Ok(exports::nvmlDeviceGetNvLinkState);
    library.nvmlDeviceGetNvLinkCapability = Ok(exports::nvmlDeviceGetNvLinkCapability);
    library.nvmlDeviceGetNvLinkRemotePciInfo_v2 = Ok(exports::nvmlDeviceGetNvLinkRemotePciInfo_v2);
    library.nvmlDeviceGetNvLinkRemoteDeviceType = Ok(exports::nvmlDeviceGetNvLinkRemoteDeviceType);
}
