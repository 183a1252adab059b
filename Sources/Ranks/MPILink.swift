import CMPI
import Dispatch
import Glibc
import Synchronization

/// Ranks connected by MPI, through the library that `make mpi` builds (`condi_mpi.h`).
final class MPILink: RankLink {
  /// The error for a library that cannot be used.
  struct LoadingError: Error, CustomStringConvertible {
    let description: String
  }

  let rank: Int
  let count: Int
  // The table is constant and valid until the process ends.
  private nonisolated(unsafe) let mpi: UnsafePointer<condi_mpi_table>
  /// Held during every MPI call; whether the group has been left.
  private let isFinished = Mutex(false)

  /// Joins the group, which is possible once per process.
  ///
  /// - Throws: `LoadingError` if there is no usable library at `path`.
  init(libraryPath path: String) throws {
    var problem: UnsafePointer<CChar>?
    guard let mpi = condi_mpi_load(path, &problem) else {
      let reason = problem.map { String(cString: $0) } ?? "it cannot be loaded"
      throw LoadingError(description: "\(path): \(reason)")
    }
    guard mpi.pointee.start() else {
      throw LoadingError(description: "\(path): Open MPI was built without support of threads")
    }
    self.mpi = mpi
    rank = Int(mpi.pointee.rank())
    count = Int(mpi.pointee.count())
    if rank == 0 { serve() }
  }

  /// Makes MPI progress while rank 0 computes.
  ///
  /// The counter lies in rank 0's memory. Ranks on other machines can reach it only while rank 0 is
  /// inside an MPI call, which may not happen for minutes while it works on a large tensor.
  private func serve() {
    DispatchQueue(label: "condi-convert.mpi").async { [self] in
      while isFinished.withLock({ isFinished in
        if !isFinished { mpi.pointee.progress() }
        return !isFinished
      }) {
        usleep(500)
      }
    }
  }

  private func call<Result: Sendable>(_ body: () -> Result) -> Result {
    isFinished.withLock { _ in body() }
  }

  func take() -> Int { Int(clamping: call(mpi.pointee.take)) }
  func resetCounter() { call(mpi.pointee.reset_counter) }
  func claim() -> Bool { call(mpi.pointee.claim) }

  func broadcast(_ bytes: [UInt8]) -> [UInt8] {
    call {
      var byteCount = UInt64(bytes.count)
      mpi.pointee.broadcast(&byteCount, MemoryLayout.size(ofValue: byteCount))
      var bytes = rank == 0 ? bytes : [UInt8](repeating: 0, count: Int(byteCount))
      mpi.pointee.broadcast(&bytes, bytes.count)
      return bytes
    }
  }

  func gather(_ bytes: [UInt8]) -> [[UInt8]] {
    call {
      guard rank == 0 else {
        var byteCount = UInt64(bytes.count)
        mpi.pointee.send(&byteCount, MemoryLayout.size(ofValue: byteCount), 0)
        mpi.pointee.send(bytes, bytes.count, 0)
        return []
      }
      return [bytes]
        + (1..<count).map { rank in
          var byteCount: UInt64 = 0
          mpi.pointee.receive(&byteCount, MemoryLayout.size(ofValue: byteCount), Int32(rank))
          var bytes = [UInt8](repeating: 0, count: Int(byteCount))
          mpi.pointee.receive(&bytes, bytes.count, Int32(rank))
          return bytes
        }
    }
  }

  func abort(code: Int32) -> Never {
    call { mpi.pointee.abort(code) }
    // MPI_Abort does not return.
    exit(code)
  }

  func finish() {
    isFinished.withLock { isFinished in
      mpi.pointee.finish()
      isFinished = true
    }
  }
}
