import Testing

@testable import Jobs

@Suite struct JobNumberTests {
  @Test(arguments: ["1/1", "3/16", "1000000/1000000"])
  func descriptionParsesBack(_ text: String) {
    #expect(JobNumber(text)?.description == text)
  }

  @Test(arguments: ["", "1", "0/4", "5/4", "1/0", "a/b", "1/2/3", "-1/3", "1/1000001", " 1/2"])
  func refusesInvalidNumbers(_ text: String) {
    #expect(JobNumber(text) == nil)
  }

  @Test(
    arguments: [
      ([:], nil),
      (
        [
          "SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "5", "SLURM_ARRAY_TASK_COUNT": "4",
          "SLURM_ARRAY_TASK_MAX": "8",
        ], "3/4"
      ),
      (
        [
          "SLURM_ARRAY_TASK_ID": "4", "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_COUNT": "3",
          "SLURM_ARRAY_TASK_STEP": "2",
        ], "3/3"
      ),
      (["SLURM_PROCID": "0", "SLURM_NTASKS": "8"], "1/8"),
      (["OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "4", "SLURM_PROCID": "0"], "4/4"),
      (["PMI_RANK": "1", "PMI_SIZE": "2"], "2/2"),
      // Three array tasks with two ranks each.
      (
        [
          "SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_COUNT": "3",
          "SLURM_PROCID": "1", "SLURM_NTASKS": "2",
        ], "4/6"
      ),
      (["PMI_RANK": "2", "PMI_SIZE": "2"], nil),
      // Array tasks that run again, alone or with some of the others.
      (
        [
          "SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_MIN": "2", "SLURM_ARRAY_TASK_MAX": "2",
          "SLURM_ARRAY_TASK_COUNT": "1", "SLURM_PROCID": "0", "SLURM_NTASKS": "1",
        ], nil
      ),
      (
        [
          "SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_MIN": "2", "SLURM_ARRAY_TASK_MAX": "5",
          "SLURM_ARRAY_TASK_COUNT": "2", "SLURM_ARRAY_TASK_STEP": "1",
        ], nil
      ),
      (["SLURM_ARRAY_TASK_ID": "3", "SLURM_PROCID": "0", "SLURM_NTASKS": "1"], nil),
      (["SLURM_PROCID": "1"], nil),
      (["OMPI_COMM_WORLD_RANK": "x", "OMPI_COMM_WORLD_SIZE": "4"], nil),
    ] as [([String: String], String?)])
  func environmentDeterminesJob(_ environment: [String: String], _ expected: String?) {
    #expect(JobNumber(environment: environment)?.description == expected)
  }
}
