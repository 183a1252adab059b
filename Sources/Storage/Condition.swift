import Glibc

/// A lock with a condition that threads wait for while they hold it.
// Sendable: POSIX's mutexes and conditions may be used from any thread.
package final class Condition: @unchecked Sendable {
  // At addresses of their own: neither may be moved.
  private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

  package init() {
    pthread_mutex_init(mutex, nil)
    pthread_cond_init(condition, nil)
  }

  deinit {
    pthread_cond_destroy(condition)
    pthread_mutex_destroy(mutex)
    condition.deallocate()
    mutex.deallocate()
  }

  /// Calls `body` while no other thread holds the lock.
  package func withLock<Result>(_ body: () throws -> Result) rethrows -> Result {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    return try body()
  }

  /// Gives the lock away until `broadcast`, or for no reason: what is waited for is asked again.
  package func wait() { pthread_cond_wait(condition, mutex) }

  /// Wakes all that wait.
  package func broadcast() { pthread_cond_broadcast(condition) }
}
