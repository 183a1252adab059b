import CSignals
import Foundation
import Synchronization

/// The pages of a file in memory. This is the only place that maps a file.
///
/// Touching a page that the file no longer has, or that its disk cannot give, is a SIGBUS, which
/// ends a process. Looking at the length before each access cannot prevent that: the file may shrink
/// a moment later, in the middle of a checksum. So where `SignalHandlers` are installed, each mapping
/// is registered with them: its missing pages become zeros, which is remembered and makes every
/// later request, and the end of every output file, an error.
// Sendable: the mapping is read-only and lives until the last slice is gone.
final class FileMapping: @unchecked Sendable {
  private let buffer: UnsafeRawBufferPointer
  /// The place in the table that the SIGBUS handler looks through; negative without a handler.
  private let slot: Int32

  /// - Returns: `nil` when the file is empty, or cannot be guarded because very many are open.
  init?(_ file: OpenFile, path: String) throws {
    guard file.byteCount > 0 else { return nil }
    let address = mmap(nil, file.byteCount, PROT_READ, MAP_PRIVATE, file.descriptor, 0)
    guard let address, address != MAP_FAILED else {
      throw FormatError(.system(operation: "map", code: errno), path: path)
    }
    buffer = UnsafeRawBufferPointer(start: address, count: file.byteCount)
    guard condi_bus_guard_is_installed() else {
      slot = -1
      return
    }
    slot = condi_bus_guard_add(address, file.byteCount)
    guard slot >= 0 else { return nil }  // the deinitializer unmaps
    Self.guardedPaths.withLock { $0[slot] = path }
  }

  deinit {
    if slot >= 0 {
      // The path of a mapping that lost bytes stays known until the process ends.
      if !condi_bus_guard_has_faulted(slot) {
        Self.guardedPaths.withLock { _ = $0.removeValue(forKey: slot) }
        condi_bus_guard_remove(slot)
      }
    }
    munmap(UnsafeMutableRawPointer(mutating: buffer.baseAddress), buffer.count)
  }

  /// - Throws: `FormatError` when bytes of the mapping were missing when they were touched.
  func bytes(_ range: Range<Int>, path: String) throws -> SharedBytes {
    if slot >= 0, condi_bus_guard_has_faulted(slot) { throw Self.fault(of: path) }
    let slice = UnsafeRawBufferPointer(rebasing: buffer[range])
    guard range.count >= MappedRange.threshold else { return SharedBytes(slice, owner: self) }
    return SharedBytes(slice, owner: MappedRange(slice, of: self))
  }

  /// - Throws: `FormatError` that names the file when bytes of any guarded mapping of this process
  ///   were missing when they were touched.
  static func checkAll() throws {
    guard condi_bus_guard_fault_count() > 0 else { return }
    let path = guardedPaths.withLock { paths in
      paths.sorted { $0.key < $1.key }.first { condi_bus_guard_has_faulted($0.key) }?.value
    }
    throw fault(of: path)
  }

  private static let guardedPaths = Mutex<[Int32: String]>([:])

  /// What is wrong when the system finds bytes missing: with the name of their file, which is known
  /// once they have been touched here.
  static func fault(touching buffer: UnsafeRawBufferPointer) -> any Error {
    guard condi_bus_guard_is_installed() else { return fault(of: nil) }
    var sum: UInt8 = 0
    for offset in stride(from: 0, to: buffer.count, by: 4096) { sum &+= buffer[offset] }
    if let last = buffer.last { sum &+= last }
    return withExtendedLifetime(sum) {
      do {
        try checkAll()
        return fault(of: nil)
      } catch { return error }
    }
  }

  private static func fault(of path: String?) -> FormatError {
    .malformed(
      "bytes of an input file vanished while it was read: another program made it shorter, or its "
        + "disk failed", path: path)
  }
}

/// Bytes of a mapping that somebody uses: their pages leave the process's memory afterwards.
///
/// A model that is larger than memory passes through it so, tensor by tensor. The pages stay in the
/// system's cache for as long as there is room, and whoever touches them again has them back.
// Sendable: the range is read-only, and its mapping lives as long as it does.
private final class MappedRange: @unchecked Sendable {
  private let range: UnsafeRawBufferPointer
  private let mapping: FileMapping

  /// Smaller ranges are not worth a system call.
  static let threshold = 1 << 18

  init(_ range: UnsafeRawBufferPointer, of mapping: FileMapping) {
    self.range = range
    self.mapping = mapping
  }

  deinit {
    guard let start = range.baseAddress else { return }
    // Whole pages inside alone: the first and the last may be in use for what lies beside.
    let pageByteCount = UInt(sysconf(Int32(_SC_PAGESIZE)))
    let first = (UInt(bitPattern: start) + pageByteCount - 1) / pageByteCount * pageByteCount
    let end = (UInt(bitPattern: start) + UInt(range.count)) / pageByteCount * pageByteCount
    guard first < end, let page = UnsafeMutableRawPointer(bitPattern: first) else { return }
    madvise(page, Int(end - first), MADV_DONTNEED)
  }
}
