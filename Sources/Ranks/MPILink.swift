#if MPI
  import CMPI
  import Foundation
  import Synchronization

  /// Ranks that MPI connects.
  final class MPILink: RankLink {
    let rank: Int
    let count: Int
    /// Held during every call of MPI; says whether the group has been left.
    private let isFinished = Mutex(false)

    /// Joins the group; once a process.
    init() {
      let isThreaded = condi_mpi_start()
      precondition(isThreaded, "Open MPI was built without support of threads")
      rank = Int(condi_mpi_rank())
      count = Int(condi_mpi_count())
      if rank == 0 { serve() }
    }

    /// The counter lies in rank 0's memory. Between machines others reach it only while rank 0 is in
    /// a call of MPI, which it may not be for minutes when it works on a large tensor.
    private func serve() {
      Thread.detachNewThread { [self] in
        while isFinished.withLock({ isFinished in
          if !isFinished { condi_mpi_progress() }
          return !isFinished
        }) {
          usleep(500)
        }
      }
    }

    private func call<Result: Sendable>(_ body: () -> Result) -> Result {
      isFinished.withLock { _ in body() }
    }

    func take() -> Int { Int(clamping: call(condi_mpi_take)) }
    func resetCounter() { call(condi_mpi_reset_counter) }
    func claim() -> Bool { call(condi_mpi_claim) }

    func broadcast(_ bytes: [UInt8]) -> [UInt8] {
      call {
        var byteCount = UInt64(bytes.count)
        condi_mpi_broadcast(&byteCount, MemoryLayout.size(ofValue: byteCount))
        var bytes = rank == 0 ? bytes : [UInt8](repeating: 0, count: Int(byteCount))
        condi_mpi_broadcast(&bytes, bytes.count)
        return bytes
      }
    }

    func gather(_ bytes: [UInt8]) -> [[UInt8]] {
      call {
        guard rank == 0 else {
          var byteCount = UInt64(bytes.count)
          condi_mpi_send(&byteCount, MemoryLayout.size(ofValue: byteCount), 0)
          condi_mpi_send(bytes, bytes.count, 0)
          return []
        }
        return [bytes]
          + (1..<count).map { rank in
            var byteCount: UInt64 = 0
            condi_mpi_receive(&byteCount, MemoryLayout.size(ofValue: byteCount), Int32(rank))
            var bytes = [UInt8](repeating: 0, count: Int(byteCount))
            condi_mpi_receive(&bytes, bytes.count, Int32(rank))
            return bytes
          }
      }
    }

    func abort(code: Int32) -> Never {
      call { condi_mpi_abort(code) }
      // MPI_Abort does not return.
      exit(code)
    }

    func finish() {
      isFinished.withLock { isFinished in
        condi_mpi_finish()
        isFinished = true
      }
    }
  }
#endif
