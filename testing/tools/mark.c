/* Says on a pipe that it has started: `mark FIFO`. Linked statically, nothing is loaded before. */
#include <fcntl.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    int pipe = argc > 1 ? open(argv[1], O_WRONLY) : -1;
    return write(pipe, "\n", 1) != 1;
}
