/// The end of the program test_odr: that it links is the test. Needs: nothing. Threads: one.
int main() {}
